import Glibc
import StoreCore
import Synchronization

/// A connected stream socket, TCP or unix. It owns the descriptor.
final class SocketTransport: Transport {
    private let descriptor: Int32
    let peer: String
    let origin: PeerOrigin
    /// Guards the descriptor's life: no shutdown may hit a number that was closed and given out again.
    private let isClosed = Mutex(false)

    init(owning descriptor: Int32, peer: String) {
        self.descriptor = descriptor
        self.peer = peer
        origin = PeerSocket.origin(descriptor)
    }
    deinit { close() }

    func receive(into buffer: UnsafeMutableRawBufferPointer, within nanoseconds: UInt64?) throws -> Int? {
        if let nanoseconds, try !Descriptor.waitUntilReadable(descriptor, within: nanoseconds) { return nil }
        while true {
            let count = recv(descriptor, buffer.baseAddress, buffer.count, 0)
            if count >= 0 { return count }
            if errno != EINTR { throw SystemCall.failure("receiving from \(peer)") }
        }
    }

    func send(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            let count = Glibc.send(descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
            if count >= 0 {
                rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            } else if errno != EINTR {
                throw SystemCall.failure("sending to \(peer)")
            }
        }
    }

    func trySend(_ parts: [UnsafeRawBufferPointer]) throws -> Int {
        var vector = parts.map { iovec(iov_base: UnsafeMutableRawPointer(mutating: $0.baseAddress), iov_len: $0.count) }
        let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
        return try vector.withUnsafeMutableBufferPointer { vector in
            var message = msghdr()
            message.msg_iov = vector.baseAddress
            message.msg_iovlen = vector.count
            while true {
                let count = sendmsg(descriptor, &message, flags)
                if count >= 0 { return count }
                if errno == EAGAIN { return 0 }
                if errno != EINTR { throw SystemCall.failure("sending to \(peer)") }
            }
        }
    }

    func stopReceiving() { shutDown(Int32(SHUT_RD)) }
    func abort() { shutDown(Int32(SHUT_RDWR)) }

    private func shutDown(_ how: Int32) {
        isClosed.withLock { if !$0 { _ = shutdown(descriptor, how) } }
    }
    func close() {
        isClosed.withLock { isClosed in
            if !isClosed { _ = Glibc.close(descriptor) }
            isClosed = true
        }
    }
}

enum Descriptor {
    /// False when nothing came in time.
    static func waitUntilReadable(_ descriptor: Int32, within nanoseconds: UInt64) throws -> Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        let milliseconds = Int32(clamping: nanoseconds / 1_000_000 + 1)
        while true {
            let count = poll(&entry, 1, milliseconds)
            if count >= 0 { return count > 0 }
            if errno != EINTR { throw SystemCall.failure("waiting for a client") }
        }
    }
}
