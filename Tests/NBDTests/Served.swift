import Foundation
import NBD
import StoreCore

/// A server over a unix socket and a TCP port, for one test.
struct Served {
    let server: NBDServer
    let directory: MemoryDirectory
    let path: String
    let port: UInt16

    /// A URI over the unix socket.
    func uri(_ export: String = "disk") -> String { "nbd+unix:///\(export)?socket=\(path)" }
    func tcpURI(_ export: String = "disk") -> String { "nbd://127.0.0.1:\(port)/\(export)" }

    static func with<R>(
        _ devices: MemoryDevice, limits: NBDLimits = NBDLimits(), observer: (any NBDObserver)? = nil,
        _ body: (Served) async throws -> R
    ) async throws -> R {
        try await with(MemoryDirectory(devices), limits: limits, observer: observer, body)
    }

    static func with<R>(
        _ directory: MemoryDirectory, limits: NBDLimits = NBDLimits(), observer: (any NBDObserver)? = nil,
        _ body: (Served) async throws -> R
    ) async throws -> R {
        let path = NSTemporaryDirectory() + "nbd-\(UUID().uuidString.prefix(8)).sock"
        let server = NBDServer(
            directory, listeningOn: [.unix(path: path, mode: 0o600), .tcp(host: "127.0.0.1", port: 0)], limits: limits,
            observer: observer)
        let addresses = try server.start()
        guard case .tcp(_, let port) = addresses[1] else { throw StorageError(.invalid, "no port") }
        do {
            let result = try await body(Served(server: server, directory: directory, path: path, port: port))
            await server.stop(draining: .seconds(5))
            return result
        } catch {
            await server.stop(draining: .seconds(1))
            throw error
        }
    }
}

/// Waits for what another thread brings about.
func eventually(within seconds: Double = 10, _ condition: () -> Bool) async throws -> Bool {
    let end = Date(timeIntervalSinceNow: seconds)
    while Date() < end {
        if condition() { return true }
        try await Task.sleep(for: .milliseconds(5))
    }
    return condition()
}
