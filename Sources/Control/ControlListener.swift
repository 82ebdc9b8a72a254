import FlyingFox
import FlyingSocks
import Foundation
import Glibc
import StoreCore

/// One address that a control server listens on.
///
/// A socket file is made in a directory of its own with mode 0700, set to 0600 and only then moved to its name. So it
/// is never open to others, whatever the umask, and replaces a stale one at once.
final class ControlListener: Sendable {
    /// As bound, with the port that was chosen.
    let address: ControlAddress
    private let server: HTTPServer
    private let running: Task<Void, Never>

    private init(_ address: ControlAddress, _ server: HTTPServer, _ running: Task<Void, Never>) {
        self.address = address
        self.server = server
        self.running = running
    }

    /// - Throws: `busy` where another server answers at the address, `unavailable` or `denied` where it cannot be used.
    static func start(_ address: ControlAddress, handler: any HTTPHandler) async throws -> ControlListener {
        switch address {
        case .unix(let path): try await startUnix(path, handler)
        case .tcp(let host, let port): try await startTCP(host, port, handler)
        }
    }

    func stop() async {
        await server.stop(timeout: 0)
        await running.value
        if case .unix(let path) = address { unlink(path) }
    }

    private static func startUnix(_ path: String, _ handler: any HTTPHandler) async throws -> ControlListener {
        guard !UnixConnection.isAnswered(path) else {
            throw StorageError(.busy, "another server listens on the control socket \(path)")
        }
        let workshop = try PrivateDirectory(in: splitPath(path).directory)
        let birthplace = try SocketPath("\(workshop.path)/s")
        let (server, running) = try await run(sockaddr_un.unix(path: birthplace.address), path, handler)
        guard chmod("\(workshop.path)/s", 0o600) == 0, rename("\(workshop.path)/s", path) == 0 else {
            let failure = systemError("make the control socket \(path)")
            await server.stop(timeout: 0)
            throw failure
        }
        return ControlListener(.unix(path: path), server, running)
    }

    private static func startTCP(_ host: String, _ port: UInt16, _ handler: any HTTPHandler) async throws
        -> ControlListener
    {
        let name = "\(ControlAddress.tcp(host: host, port: port))"
        let (server, running) =
            if host.contains(":") {
                try await run(try ipAddress { try sockaddr_in6.inet6(ip6: host, port: port) }, name, handler)
            } else {
                try await run(
                    try ipAddress { try sockaddr_in.inet(ip4: host == "localhost" ? "127.0.0.1" : host, port: port) },
                    name, handler)
            }
        var chosen = port
        switch await server.listeningAddress {
        case .ip4(_, let bound), .ip6(_, let bound): chosen = bound
        default: break
        }
        return ControlListener(.tcp(host: host, port: chosen), server, running)

        func ipAddress<A>(_ make: () throws -> A) throws(StorageError) -> A {
            do { return try make() } catch {
                throw StorageError(
                    .invalid, "'\(host)' is not an IP address: the control server wants one", cause: error)
            }
        }
    }

    /// Commands may take as long as they take: the library's own time limit is out of reach.
    private static let handlerSecondsMax: TimeInterval = 366 * 86400

    private static func run(
        _ address: some SocketAddress, _ name: String, _ handler: any HTTPHandler
    ) async throws -> (HTTPServer, Task<Void, Never>) {
        let server = HTTPServer(
            address: address, timeout: handlerSecondsMax, logger: .disabled, handler: handler)
        let failure = AsyncStream<any Error>.makeStream()
        let running = Task {
            do { try await server.run() } catch { failure.continuation.yield(error) }
            failure.continuation.finish()
        }
        do {
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await server.waitUntilListening(timeout: 10) }
                group.addTask { for await error in failure.stream { throw error } }
                try await group.next()
                group.cancelAll()
            }
        } catch {
            running.cancel()
            throw StorageError(.unavailable, "cannot listen on \(name) for commands", cause: error)
        }
        return (server, running)
    }
}

/// A new directory with mode 0700 that goes when it is no longer needed.
private final class PrivateDirectory {
    let path: String

    init(in parent: String) throws(StorageError) {
        var template = Array("\(parent)/.zXXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw systemError("make a directory in \(parent)") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    deinit {
        unlink("\(path)/s")
        rmdir(path)
    }
}
