import Glibc
import StoreCore
import Synchronization

/// A pair of descriptors, for a server that speaks over its standard input and output. It owns both, and a pipe of its
/// own that wakes the reader.
final class PipeTransport: Transport {
    private let input: Int32
    private let output: Int32
    private let wakeReader: Int32
    private let wakeWriter: Int32
    let peer: String
    /// Whoever started this process holds the other ends.
    var origin: PeerOrigin { .local(userID: getuid()) }

    private struct State {
        var isStopped = false
        var isAborted = false
        var isClosed = false
    }
    private let state = Mutex(State())

    init(owningInput input: Int32, output: Int32, peer: String) throws(StorageError) {
        var ends: (Int32, Int32) = (-1, -1)
        let code = withUnsafeMutableBytes(of: &ends) { pipe($0.baseAddress?.assumingMemoryBound(to: Int32.self)) }
        guard code == 0 else { throw SystemCall.failure("making a pipe") }
        (wakeReader, wakeWriter) = ends
        self.input = input
        self.output = output
        self.peer = peer
    }
    deinit { close() }

    func receive(into buffer: UnsafeMutableRawBufferPointer, within nanoseconds: UInt64?) throws -> Int? {
        let milliseconds = nanoseconds.map { Int32(clamping: $0 / 1_000_000 + 1) } ?? -1
        while true {
            var entries = (
                pollfd(fd: input, events: Int16(POLLIN), revents: 0),
                pollfd(fd: wakeReader, events: Int16(POLLIN), revents: 0)
            )
            let ready = withUnsafeMutableBytes(of: &entries) {
                poll($0.baseAddress?.assumingMemoryBound(to: pollfd.self), 2, milliseconds)
            }
            if ready == 0 { return nil }
            if ready < 0, errno != EINTR { throw SystemCall.failure("waiting for \(peer)") }
            if ready < 0 { continue }
            if entries.0.revents == 0 { return 0 }
            let count = read(input, buffer.baseAddress, buffer.count)
            if count >= 0 { return count }
            if errno != EINTR { throw SystemCall.failure("receiving from \(peer)") }
        }
    }

    func send(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            if state.withLock({ $0.isAborted }) { throw StorageError(.unavailable, "the connection was ended") }
            // Waiting with a limit, so that an abort is noticed although a pipe cannot be shut down.
            var entry = pollfd(fd: output, events: Int16(POLLOUT), revents: 0)
            guard poll(&entry, 1, 200) > 0 else { continue }
            let count = write(output, rest.baseAddress, min(rest.count, Int(PIPE_BUF)))
            if count >= 0 {
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            } else if errno != EINTR, errno != EAGAIN {
                throw SystemCall.failure("sending to \(peer)")
            }
        }
    }

    /// A pipe may block whatever it promised: the writer thread does all the sending.
    func trySend(_ parts: [UnsafeRawBufferPointer]) throws -> Int { 0 }

    func stopReceiving() { wake { $0.isStopped = true } }
    func abort() {
        wake {
            $0.isStopped = true
            $0.isAborted = true
        }
    }

    private func wake(_ change: (inout State) -> Void) {
        state.withLock { state in
            let wasStopped = state.isStopped
            change(&state)
            if !wasStopped, !state.isClosed { _ = write(wakeWriter, "x", 1) }
        }
    }
    func close() {
        state.withLock { state in
            guard !state.isClosed else { return }
            state.isClosed = true
            for descriptor in Set([input, output, wakeReader, wakeWriter]) { _ = Glibc.close(descriptor) }
        }
    }
}
