import Foundation
import Glibc

/// A server in a process of its own, on a free port of the loopback. It ends with this process at the latest, however
/// that ends: a shell between them waits for the end of its input, which only this process holds open.
final class ServerProcess: Sendable {
    let port: UInt16
    private let process: Process

    /// - Parameter command: shell words with `PORT` where the port belongs.
    init(_ command: String) throws {
        port = try Self.freePort()
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        let server = command.replacing("PORT", with: "\(port)")
        // SIGKILL, because the threads of the pool block signals, and children inherit that.
        process.arguments = ["-c", "\(server) </dev/null >/dev/null 2>&1 & server=$!; cat >/dev/null; kill -9 $server"]
        process.standardInput = Pipe()
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        self.process = process
    }

    func waitUntilItAnswers() async throws {
        for _ in 0..<900 {
            if Self.answers(port) { return }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw ServerDoesNotStart()
    }

    /// Below those that the system chooses from (ip_local_port_range): no other test's socket is given it before the
    /// server binds it.
    private static func freePort() throws -> UInt16 {
        for _ in 0..<100 {
            let port = UInt16.random(in: 10_000..<32_768)
            do { try LoopbackListener(port: port).close() } catch { continue }
            return port
        }
        throw ServerDoesNotStart()
    }

    private static func answers(_ port: UInt16) -> Bool {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(socket) }
        return withLoopbackAddress(port: port) { Glibc.connect(socket, $0, $1) } == 0
    }
}

struct ServerDoesNotStart: Error {}

/// A listening socket on 127.0.0.1, with a port that the system chose unless told.
struct LoopbackListener {
    let descriptor: Int32
    let port: UInt16

    init(port: UInt16 = 0) throws {
        let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        self.descriptor = descriptor
        guard descriptor >= 0, withLoopbackAddress(port: port, { bind(descriptor, $0, $1) }) == 0,
            listen(descriptor, 64) == 0
        else {
            Glibc.close(descriptor)
            throw ServerDoesNotStart()
        }
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let named = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        guard named == 0 else { throw ServerDoesNotStart() }
        self.port = UInt16(bigEndian: address.sin_port)
    }
    func close() { Glibc.close(descriptor) }
}

private func withLoopbackAddress<R>(port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
}
