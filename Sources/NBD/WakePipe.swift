import Glibc
import StoreCore

/// Wakes a thread that waits for a descriptor, once and for all: it stays readable.
final class WakePipe: Sendable {
    private let reader: Int32
    private let writer: Int32

    init() throws(StorageError) {
        var ends: (Int32, Int32) = (-1, -1)
        let code = withUnsafeMutableBytes(of: &ends) { pipe($0.baseAddress?.assumingMemoryBound(to: Int32.self)) }
        guard code == 0 else { throw SystemCall.failure("making a pipe") }
        (reader, writer) = ends
        for end in [reader, writer] { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    }
    deinit {
        close(reader)
        close(writer)
    }

    /// Once: a pipe that nobody empties must not fill up.
    func wake() { _ = write(writer, "x", 1) }

    /// Blocks until there is something to read, from the other descriptor or because of `wake`. A signal ends it too.
    func waitUntilReadable(or other: Int32) {
        var entries = (
            pollfd(fd: other, events: Int16(POLLIN), revents: 0), pollfd(fd: reader, events: Int16(POLLIN), revents: 0)
        )
        _ = withUnsafeMutableBytes(of: &entries) {
            poll($0.baseAddress?.assumingMemoryBound(to: pollfd.self), 2, -1)
        }
    }
}
