import Glibc
import StoreCore

/// A client's connection to a socket file, blocking: for a thread that may wait. Closed at its end.
struct UnixConnection: ~Copyable {
    let descriptor: Int32
    private var buffer: [UInt8] = []
    private var next = 0

    /// Throws `notFound` where nobody listens (no file, or a stale one), `denied` where permissions forbid.
    init(connectingTo path: String) throws(StorageError) {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw systemError("make a socket") }
        let reach = try SocketPath(path)
        guard Self.connect(descriptor, reach.address) == 0 else {
            if errno == ECONNREFUSED { errno = ENOENT }
            let failure = systemError("reach a server at \(path)")
            throw failure
        }
    }
    init(owning descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }

    /// Whether a server accepts connections there.
    static func isAnswered(_ path: String) -> Bool {
        do {
            _ = try UnixConnection(connectingTo: path)
            return true
        } catch { return false }
    }

    private static func connect(_ descriptor: Int32, _ path: String) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { field in
            // One byte stays zero; `SocketPath` made it fit.
            field.copyBytes(from: path.utf8.prefix(field.count - 1))
        }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    /// How long one read or write may take; without it, for ever.
    func setTimeout(seconds: Int) {
        var time = timeval(tv_sec: seconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(descriptor, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    func send(_ bytes: [UInt8]) throws(StorageError) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw systemError("send to the server") }
            sent += count
        }
    }

    /// Up to and without the line's end.
    mutating func line() throws(StorageError) -> String {
        var line: [UInt8] = []
        while true {
            if next == buffer.count { try fill() }
            let byte = buffer[next]
            next += 1
            if byte == UInt8(ascii: "\n") { break }
            line.append(byte)
            guard line.count <= 1 << 16 else { throw StorageError(.unavailable, "the server's answer makes no sense") }
        }
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        return String(decoding: line, as: UTF8.self)
    }

    mutating func bytes(_ count: Int) throws(StorageError) -> [UInt8] {
        var result: [UInt8] = []
        while result.count < count {
            if next == buffer.count { try fill() }
            let part = buffer[next..<min(buffer.count, next + count - result.count)]
            next += part.count
            result.append(contentsOf: part)
        }
        return result
    }

    private mutating func fill() throws(StorageError) {
        while true {
            var fresh = [UInt8](repeating: 0, count: 16 << 10)
            let count = fresh.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, 0) }
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN { throw StorageError(.unavailable, "the server does not answer in time") }
            guard count >= 0 else { throw systemError("hear from the server") }
            guard count > 0 else { throw StorageError(.unavailable, "the server closed the connection") }
            fresh.removeLast(fresh.count - count)
            (buffer, next) = (fresh, 0)
            return
        }
    }
}
