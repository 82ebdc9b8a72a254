import Control
import Glibc
import StoreCore
import Testing

/// What a client sees that is not ours: bytes over TCP, as curl or a browser would send them.
@Suite struct HTTPContract {
    @Test func commandsAreJSONBothWays() async throws {
        let answer = try await ask(post("/v1/create", #"{"name":"pg-prod","sizeBytes":4096}"#))
        #expect(answer.status == 200)
        #expect(answer.head.contains("application/json"))
        #expect(answer.body == #"{"id":"00ff","name":"pg-prod","sizeBytes":4096}"# + "\n")
    }

    @Test func errorsAreJSONWithAFittingStatus() async throws {
        let answer = try await ask(post("/v1/info", #"{"name":"nope"}"#))
        #expect(answer.status == 404)
        #expect(answer.body == #"{"error":{"code":"not-found","message":"there is no volume 'nope'"}}"# + "\n")
    }

    @Test func longCommandsAnswerLineByLine() async throws {
        let answer = try await ask(post("/v1/gc", #"{"dryRun":false}"#))
        #expect(answer.status == 200)
        #expect(answer.head.lowercased().contains("application/x-ndjson"))
        let lines = answer.body.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("{") }
        #expect(lines.first == #"{"progress":{"done":1,"phase":"listing"}}"#)
        #expect(lines.last?.hasPrefix(#"{"result":{"#) == true)
    }

    @Test func whatIsUnknownIsNotFound() async throws {
        for request in [post("/v1/nonsense", "{}"), get("/"), get("/v1/create"), post("/healthz", "{}")] {
            #expect(try await ask(request).status == 404)
        }
    }

    @Test func senselessBodiesAreRefused() async throws {
        for body in ["", "[", "[]", #"{"name":1}"#, #"{"nam":"x"}"#, String(repeating: " ", count: 100_000)] {
            #expect(try await ask(post("/v1/info", body)).status == 400)
        }
    }

    /// Browsers send these without asking; a page from anywhere must not be able to delete a volume.
    @Test func whatABrowserCouldBeMadeToSendIsRefused() async throws {
        let body = #"{"name":"pg-prod","force":true}"#
        #expect(try await ask(post("/v1/delete", body, type: "text/plain")).status == 400)
        #expect(try await ask(post("/v1/delete", body, host: "evil.example.com")).status == 403)
        #expect(try await ask(post("/v1/delete", body, host: "localhost:80")).status == 200)
    }

    @Test func metricsAndStatisticsAnswer() async throws {
        let metrics = try await ask(get("/metrics"))
        #expect(metrics.status == 200)
        #expect(metrics.head.contains("text/plain; version=0.0.4"))
        #expect(metrics.body.contains("zerofs_operations_total{kind=\"read\",volume=\"pg-prod\"} 3\n"))
        let statistics = try ControlJSON.decode(
            StatisticsReport.self, from: Array(try await ask(get("/v1/stats")).body.utf8))
        #expect(statistics.exports.map(\.name) == ["pg-prod"])
    }

    @Test func aTCPPortThatIsTakenIsAnError() async throws {
        let first = TestServer(), second = TestServer()
        let address = try await first.server.start(on: .tcp(host: "127.0.0.1", port: 0))
        await #expect(throws: StorageError.self) { _ = try await second.server.start(on: address) }
        await first.server.stop()
    }

    // MARK: Plain sockets

    private struct Answer {
        var status: Int
        var head: String
        var body: String
    }

    private func get(_ path: String) -> String {
        "GET \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    }
    private func post(
        _ path: String, _ body: String, type: String = "application/json", host: String = "127.0.0.1"
    ) -> String {
        """
        POST \(path) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\nContent-Type: \(type)\r\n\
        Content-Length: \(body.utf8.count)\r\n\r\n\(body)
        """
    }

    private func ask(_ request: String) async throws -> Answer {
        let test = TestServer()
        let address = try await test.server.start(on: .tcp(host: "127.0.0.1", port: 0))
        guard case .tcp(_, let port) = address else { throw StorageError(.invalid, "no port") }
        let text = try await BlockingPool(name: "test", threads: 1).run { try send(request, to: port) }
        await test.server.stop()
        let parts = text.firstRange(of: "\r\n\r\n").map { (text[..<$0.lowerBound], text[$0.upperBound...]) }
        let (head, body) = try #require(parts)
        return Answer(status: Int(head.split(separator: " ")[1]) ?? 0, head: String(head), body: String(body))
    }
}

/// Sends a request and reads until the server closes.
private func send(_ request: String, to port: UInt16) throws -> String {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let connected = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard connected == 0 else { throw StorageError(.unavailable, "cannot connect") }
    var rest = Array(request.utf8)[...]
    while !rest.isEmpty {
        let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        guard count > 0 else { break }
        rest = rest.dropFirst(count)
    }
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while true {
        let count = recv(descriptor, &buffer, buffer.count, 0)
        guard count > 0 else { return String(decoding: answer, as: UTF8.self) }
        answer.append(contentsOf: buffer.prefix(count))
    }
}
