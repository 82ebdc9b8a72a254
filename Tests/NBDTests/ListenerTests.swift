import Foundation
import Glibc
import NBD
import Synchronization
import Testing

/// Whoever connects while a server leaves is told, or served by the next one; nobody waits for an answer in vain.
@Suite struct LeavingServersLeaveNobodyWaiting {
    private func path() -> String { NSTemporaryDirectory() + "listen-\(UUID().uuidString.prefix(8)).sock" }

    /// As a service manager makes it. Close it in the end.
    private func listening(on path: String) throws -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
        let code = withUnsafeBytes(of: &address) {
            bind(descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
        }
        try #require(code == 0 && listen(descriptor, 16) == 0)
        return descriptor
    }

    @Test func anInheritedSocketListensForTheNextServer() async throws {
        let path = path()
        let socket = try listening(on: path)
        defer {
            close(socket)
            unlink(path)
        }
        for _ in 0..<3 {
            // Connects while no server runs, and waits for one. Used by one thread at a time.
            nonisolated(unsafe) let early = try RawClient(unix: path)
            let server = NBDServer(MemoryDirectory(MemoryDevice()), listeningOn: [.inherited(descriptor: dup(socket))])
            _ = try server.start()
            try await blocking {
                try early.go("")
                #expect(try early.ask(0, length: 512).type == 1)
                let late = try RawClient(unix: path)
                try late.go("")
            }
            await server.stop(draining: .seconds(5))
            #expect(FileManager.default.fileExists(atPath: path))
        }
    }

    @Test func clientsThatConnectWhileAServerLeavesSeeTheEnd() async throws {
        for _ in 0..<20 {
            let path = path()
            let device = MemoryDevice()
            let server = NBDServer(
                MemoryDirectory(device),
                listeningOn: [.unix(path: path, mode: 0o600), .tcp(host: "127.0.0.1", port: 0)])
            let addresses = try server.start()
            guard case .tcp(_, let port) = addresses[1] else { return }
            let isBusy = Atomic(false)
            let isOver = Atomic(false)
            async let clients: Int = blocking {
                var clients: [RawClient] = []
                while !isOver.load(ordering: .relaxed), clients.count < 400 {
                    // Refused once nobody listens any more.
                    do { clients.append(try RawClient(unix: path)) } catch {}
                    do { clients.append(try RawClient(tcp: port)) } catch {}
                    isBusy.store(!clients.isEmpty, ordering: .relaxed)
                }
                for client in clients {
                    // A greeting perhaps, and then the end. A receive that times out is none.
                    var bytes = [UInt8](repeating: 0, count: 64)
                    while true {
                        let count = recv(client.descriptor, &bytes, bytes.count, 0)
                        if count > 0 { continue }
                        #expect(count == 0 || errno == ECONNRESET, "a client got no answer: \(errno)")
                        break
                    }
                }
                return clients.count
            }
            #expect(try await eventually { isBusy.load(ordering: .relaxed) })
            await server.stop(draining: .seconds(5))
            isOver.store(true, ordering: .relaxed)
            #expect(try await clients > 0)
            withExtendedLifetime(server) {}
        }
    }
}
