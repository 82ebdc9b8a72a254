import Foundation
import Glibc
import StoreCore

/// A blocking client that speaks the protocol byte by byte, so that it can break it.
final class RawClient {
    struct Failure: Error { var text: String }
    struct Chunk: Equatable {
        var flags: UInt16
        var type: UInt16
        var cookie: UInt64
        var payload: [UInt8]
        var errorCode: UInt32? {
            type & 0x8000 != 0 ? payload.prefix(4).reduce(0) { $0 << 8 | UInt32($1) } : nil
        }
    }

    let descriptor: Int32
    /// As negotiated with `go`.
    var isExtended = false

    init(unix path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let code = withUnsafeBytes(of: &address) {
            connect(descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
        }
        // It is whole: `deinit` closes the descriptor.
        guard code == 0 else { throw Failure(text: "connect: \(errno)") }
        setTimeout()
    }
    /// Over TCP, on this machine.
    init(tcp port: UInt16) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        let code = withUnsafeBytes(of: &address) {
            connect(descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
        }
        // It is whole: `deinit` closes the descriptor.
        guard code == 0 else { throw Failure(text: "connect: \(errno)") }
        setTimeout()
    }
    init(adopting descriptor: Int32) {
        self.descriptor = descriptor
        setTimeout()
    }
    deinit { close(descriptor) }

    /// A server that never answers must fail the test, not hang it.
    private func setTimeout() {
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw Failure(text: "send: \(errno)") }
            sent += count
        }
    }
    func receive(_ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            let got = bytes.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress! + filled, count - filled, 0) }
            guard got > 0 else { throw Failure(text: got == 0 ? "end of stream" : "recv: \(errno)") }
            filled += got
        }
        return bytes
    }
    /// Whether the server closed; bytes before that are dropped.
    func isClosed() -> Bool {
        var bytes = [UInt8](repeating: 0, count: 65536)
        while true {
            let got = recv(descriptor, &bytes, bytes.count, 0)
            if got == 0 || got < 0 && errno == ECONNRESET { return true }
            if got < 0 { return false }
        }
    }

    private func read<T: FixedWidthInteger>(_: T.Type = T.self) throws -> T {
        try receive(T.bitWidth / 8).reduce(0) { $0 << 8 | T(truncatingIfNeeded: $1) }
    }

    // MARK: Handshake

    func greet(flags: UInt32 = 3) throws {
        let greeting = try receive(18)
        guard greeting.starts(with: "NBDMAGICIHAVEOPT".utf8) else { throw Failure(text: "greeting") }
        try send(number(flags))
    }
    /// Sends an option; its replies' types and data up to the final one.
    func option(_ code: UInt32, _ data: [UInt8] = []) throws -> [(type: UInt32, data: [UInt8])] {
        try send(Array("IHAVEOPT".utf8) + number(code) + number(UInt32(data.count)) + data)
        var replies: [(UInt32, [UInt8])] = []
        while true {
            guard try read(UInt64.self) == 0x0003_e889_0455_65a9, try read(UInt32.self) == code else {
                throw Failure(text: "option reply")
            }
            let type = try read(UInt32.self)
            replies.append((type, try receive(Int(try read(UInt32.self)))))
            if type == 1 || type & 0x8000_0000 != 0 { return replies }
        }
    }
    /// Greets and enters transmission.
    func go(_ export: String = "disk", structured: Bool = true, extended: Bool = false, context: Bool = true) throws {
        try greet()
        if structured || extended { _ = try option(extended ? 11 : 8) }
        if context, structured || extended {
            _ = try option(10, text(export) + number(1 as UInt32) + text("base:allocation"))
        }
        guard try option(7, text(export) + [0, 0]).last?.type == 1 else { throw Failure(text: "go") }
        isExtended = extended
    }

    // MARK: Transmission

    func header(_ command: UInt16, flags: UInt16 = 0, cookie: UInt64, offset: UInt64 = 0, length: UInt64 = 0) -> [UInt8]
    {
        number((isExtended ? 0x21e4_1c71 : 0x2560_9513) as UInt32) + number(flags) + number(command) + number(cookie)
            + number(offset) + (isExtended ? number(length) : number(UInt32(length)))
    }
    func request(
        _ command: UInt16, flags: UInt16 = 0, cookie: UInt64, offset: UInt64 = 0, length: UInt64 = 0,
        payload: [UInt8] = []
    ) throws {
        try send(header(command, flags: flags, cookie: cookie, offset: offset, length: length) + payload)
    }
    /// The next reply chunk; a simple reply without payload appears as a done chunk of type none or error.
    func chunk() throws -> Chunk {
        switch try read(UInt32.self) {
        case 0x6744_6698:
            let error = try read(UInt32.self)
            return Chunk(
                flags: 1, type: error == 0 ? 0 : 0x8001, cookie: try read(), payload: error == 0 ? [] : number(error))
        case 0x668e_33ef:
            let flags = try read(UInt16.self)
            let type = try read(UInt16.self)
            let cookie = try read(UInt64.self)
            return Chunk(flags: flags, type: type, cookie: cookie, payload: try receive(Int(try read(UInt32.self))))
        case 0x6e8a_278c:
            let flags = try read(UInt16.self)
            let type = try read(UInt16.self)
            let cookie = try read(UInt64.self)
            _ = try read(UInt64.self)
            return Chunk(flags: flags, type: type, cookie: cookie, payload: try receive(Int(try read(UInt64.self))))
        default: throw Failure(text: "reply magic")
        }
    }
    /// Request and its one-chunk reply.
    func ask(
        _ command: UInt16, flags: UInt16 = 0, offset: UInt64 = 0, length: UInt64 = 0, payload: [UInt8] = []
    ) throws -> Chunk {
        try request(command, flags: flags, cookie: 99, offset: offset, length: length, payload: payload)
        let reply = try chunk()
        guard reply.cookie == 99, reply.flags == 1 else { throw Failure(text: "unexpected reply \(reply)") }
        return reply
    }
}

/// Runs blocking code on a thread of its own, not on the pool that the server's tasks need.
func blocking<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result(catching: body)) }
    }
}

extension SplitMix64 {
    mutating func bytes(_ count: Int) -> [UInt8] {
        var words: [UInt64] = []
        words.reserveCapacity(count / 8 + 1)
        for _ in 0...(count / 8) { words.append(next()) }
        return words.withUnsafeBytes { Array($0.prefix(count)) }
    }
}
