import Glibc
import ObjectStorage
import StoreCore
import Testing

@testable import S3

/// What a network and a server can do to a request.
@Suite struct AnswersThatAreNotWhole {
    private static let short = S3Timeouts(connect: .seconds(2), idle: .seconds(1), total: .seconds(4))

    @Test func aConnectionCutMidBodyIsNeverASuccess() async throws {
        let server = try ScriptedServer { _ in .rawThenClose("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
        }
        let store = try server.makeStore()
        #expect(try await storageError { _ = try await store.get("a") }.code == .unavailable)
    }

    @Test func aChunkedBodyWithoutItsEndIsNeverASuccess() async throws {
        let server = try ScriptedServer { _ in
            .rawThenClose("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n")
        }
        let store = try server.makeStore()
        #expect(try await storageError { _ = try await store.get("a") }.code == .unavailable)
    }

    @Test func aBodyWithoutAMarkedEndIsNotBelieved() async throws {
        let server = try ScriptedServer { _ in .rawThenClose("HTTP/1.1 200 OK\r\n\r\nwho knows whether this is all") }
        let store = try server.makeStore()
        #expect(try await storageError { _ = try await store.get("a") }.code == .unavailable)
    }

    @Test func aServerThatFallsSilentIsGivenUp() async throws {
        let server = try ScriptedServer { _ in .silence }
        let store = try server.makeStore { $0.timeouts = Self.short }
        let error = try await storageError { _ = try await store.create("a", [1, 2, 3]) }
        #expect(error.code == .unavailable)
        #expect(error.message.contains("in time"))
    }

    @Test func aBodyThatStallsIsGivenUp() async throws {
        let server = try ScriptedServer { _ in .raw("HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\n\r\nhalf") }
        let store = try server.makeStore { $0.timeouts = Self.short }
        #expect(try await storageError { _ = try await store.get("a", range: 0..<10) }.code == .unavailable)
    }

    @Test func anotherRangeThanAskedForIsNotBelieved() async throws {
        for range in ["bytes 1-4/100", "bytes 0-2/100", "bytes 0-3/*x", "bytes 0-9/100", "lines 1-2", ""] {
            let server = try ScriptedServer { _ in
                .status("206 Partial Content", headers: ["Content-Range: \(range)"], "abc")
            }
            let store = try server.makeStore()
            #expect(try await storageError { _ = try await store.get("a", range: 0..<4) }.code == .unavailable)
        }
    }

    @Test func moreThanARangeAskedForIsNotBuffered() async throws {
        let server = try ScriptedServer { request in
            let body = String(repeating: "x", count: 1 << 20)
            return request.target.hasSuffix("whole")
                ? .status("200 OK", body)
                : .status("206 Partial Content", headers: ["Content-Range: bytes 0-9/10"], body)
        }
        let store = try server.makeStore()
        #expect(try await storageError { _ = try await store.get("whole", range: 0..<10) }.code == .unsupported)
        #expect(try await storageError { _ = try await store.get("part", range: 0..<10) }.code == .unsupported)
    }

    @Test func nobodyAtTheEndpointIsUnavailable() async throws {
        let listener = try LoopbackListener()
        listener.close()
        let store = try S3Store(
            S3Configuration(
                location: S3URL(bucket: "bucket"), endpoint: "http://127.0.0.1:\(listener.port)",
                credentials: FixedCredentials(accessKeyID: "k", secretAccessKey: "s")))
        let error = try await storageError { _ = try await store.get("a") }
        #expect(error.code == .unavailable)
        #expect(error.message.contains("127.0.0.1:\(listener.port)"))
    }

    @Test func whatIsNotHTTPIsUnavailable() async throws {
        let server = try ScriptedServer { _ in .rawThenClose("SSH-2.0-OpenSSH_9.2\r\n") }
        let store = try server.makeStore()
        #expect(try await storageError { _ = try await store.get("a") }.code == .unavailable)
    }
}

@Suite struct KeptConnections {
    @Test func areUsedAgain() async throws {
        let server = try ScriptedServer { _ in .status("200 OK", "x") }
        let store = try server.makeStore { $0.connectionsMax = 1 }
        for _ in 0..<5 { #expect(try await store.get("a") == [UInt8(ascii: "x")]) }
        #expect(server.requests.count == 5)
    }

    /// libcurl repeats a request by itself when a kept connection turns out to be dead. For a creation that would turn
    /// our own first success into `exists`.
    @Test(arguments: [0, 10, 1 << 20])
    func aCreationOnADeadConnectionIsNotSentTwice(byteCount: Int) async throws {
        let server = try ScriptedServer { $0.number == 0 ? .status("200 OK", "x") : .rawThenClose("") }
        let store = try server.makeStore { $0.connectionsMax = 1 }
        _ = try await store.get("a")
        let bytes = [UInt8](repeating: 7, count: byteCount)
        #expect(try await storageError { _ = try await store.create("a", bytes) }.code == .unavailable)
        #expect(server.requests.count == 2)
    }

    @Test func aReadOnADeadConnectionIsSentAgain() async throws {
        let server = try ScriptedServer { $0.number == 1 ? .rawThenClose("") : .status("200 OK", "x") }
        let store = try server.makeStore { $0.connectionsMax = 1 }
        _ = try await store.get("a")
        #expect(try await store.get("a") == [UInt8(ascii: "x")])
        #expect(server.requests.count == 3)
    }

    @Test func thereAreNoMoreThanAllowed() async throws {
        let server = try ScriptedServer { _ in
            usleep(20_000)
            return .status("200 OK", "x")
        }
        let store = try server.makeStore { $0.connectionsMax = 3 }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<30 { group.addTask { _ = try await store.get("a") } }
            try await group.waitForAll()
        }
        #expect(server.busyMax <= 3)
        #expect(server.requests.count == 30)
    }
}

@Suite struct Cancellation {
    @Test func abandonsAReadAtOnce() async throws {
        let server = try ScriptedServer { _ in .silence }
        let store = try server.makeStore { $0.timeouts = S3Timeouts() }
        let read = Task { try await store.get("a") }
        while server.requests.isEmpty { try await Task.sleep(for: .milliseconds(5)) }
        read.cancel()
        await #expect(throws: CancellationError.self) { try await read.value }
    }

    @Test func abandonsAReadThatStillWaitsForAConnection() async throws {
        let server = try ScriptedServer { _ in .silence }
        let store = try server.makeStore {
            $0.timeouts = S3Timeouts()
            $0.connectionsMax = 1
        }
        let first = Task { try await store.get("a") }
        while server.requests.isEmpty { try await Task.sleep(for: .milliseconds(5)) }
        let second = Task { try await store.get("b") }
        try await Task.sleep(for: .milliseconds(30))
        second.cancel()
        await #expect(throws: CancellationError.self) { try await second.value }
        first.cancel()
        await #expect(throws: CancellationError.self) { try await first.value }
        #expect(server.requests.count == 1)
    }

    @Test func doesNotAbandonACreation() async throws {
        let server = try ScriptedServer { _ in
            usleep(200_000)
            return .status("200 OK")
        }
        let store = try server.makeStore()
        let creation = Task { try await store.create("a", [1]) }
        creation.cancel()
        #expect(try await creation.value == .created)
    }
}
