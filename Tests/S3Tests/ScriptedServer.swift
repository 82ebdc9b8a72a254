import Glibc
import StoreCore
import Synchronization

@testable import S3

/// A server on the loopback that answers each request as a test wants it, byte for byte. One thread a connection.
/// It lives as long as the process: a test must not lose its server where it last names it.
final class ScriptedServer: Sendable {
    struct Request: Sendable {
        /// Counts all requests to the server, from 0.
        var number: Int
        var method: String
        /// Path and query as they came.
        var target: String
        /// Names in lower case.
        var headers: [String: String]
        var body: [UInt8]
    }

    /// What follows a request.
    enum Reply: Sendable {
        /// Sent as it stands; the connection stays open.
        case raw(String)
        /// Sent, and then the connection is closed.
        case rawThenClose(String)
        /// Nothing, for as long as the connection is open.
        case silence

        static func status(_ status: String, headers: [String] = [], _ body: String = "") -> Reply {
            .raw(
                (["HTTP/1.1 \(status)", "Content-Length: \(body.utf8.count)"] + headers + ["", body])
                    .joined(separator: "\r\n"))
        }
        static func error(_ status: String, _ code: String, headers: [String] = []) -> Reply {
            .status(status, headers: headers, "<Error><Code>\(code)</Code><Message>Said so.</Message></Error>")
        }
    }

    private struct State {
        var requests: [Request] = []
        var busy = 0
        var busyMax = 0
    }
    private let listener: LoopbackListener
    private let state = Mutex(State())
    private let reply: @Sendable (Request) -> Reply

    init(_ reply: @escaping @Sendable (Request) -> Reply) throws {
        self.reply = reply
        listener = try LoopbackListener()
        try runOnThread { [self] in
            while true {
                let connection = accept(listener.descriptor, nil, nil)
                guard connection >= 0 else { continue }
                do {
                    try runOnThread { [self] in serve(connection) }
                } catch {
                    close(connection)
                }
            }
        }
    }

    var url: String { "http://127.0.0.1:\(listener.port)" }
    var requests: [Request] { state.withLock { $0.requests } }
    /// The most requests that were being answered at one moment.
    var busyMax: Int { state.withLock { $0.busyMax } }

    func makeStore(_ change: (inout S3Configuration) -> Void = { _ in }) throws -> S3Store {
        var configuration = S3Configuration(
            location: try S3URL(bucket: "bucket", prefix: "p"), endpoint: url,
            credentials: FixedCredentials(accessKeyID: "key", secretAccessKey: "very-secret-secret"))
        // A busy machine takes its time to answer; who tests what falls silent sets shorter ones.
        configuration.timeouts = S3Timeouts(connect: .seconds(10), idle: .seconds(10), total: .seconds(30))
        change(&configuration)
        return try S3Store(configuration)
    }

    private func serve(_ connection: Int32) {
        defer { close(connection) }
        var pending: [UInt8] = []
        while let request = receive(connection, &pending) {
            let reply = reply(request)
            switch reply {
            case .raw(let text): send(connection, text)
            case .rawThenClose(let text): return send(connection, text)
            case .silence: while receiveMore(connection, &pending) {}
            }
            state.withLock { $0.busy -= 1 }
        }
    }

    private func receive(_ connection: Int32, _ pending: inout [UInt8]) -> Request? {
        let end = Array("\r\n\r\n".utf8)
        while pending.firstRange(of: end) == nil {
            guard receiveMore(connection, &pending) else { return nil }
        }
        guard let headEnd = pending.firstRange(of: end) else { return nil }
        let lines = String(decoding: pending[..<headEnd.lowerBound], as: UTF8.self).split(separator: "\r\n")
        let words = lines[0].split(separator: " ").map(String.init)
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            let parts = line.split(separator: ":", maxSplits: 1)
            headers[parts[0].lowercased()] = parts.count > 1 ? parts[1].trimmed() : ""
        }
        pending.removeFirst(headEnd.upperBound)
        let length = headers["content-length"].flatMap { Int($0) } ?? 0
        while pending.count < length {
            guard receiveMore(connection, &pending) else { return nil }
        }
        let body = Array(pending[..<length])
        pending.removeFirst(length)
        return state.withLock { state in
            let request = Request(
                number: state.requests.count, method: words[0], target: words[1], headers: headers, body: body)
            state.requests.append(request)
            state.busy += 1
            state.busyMax = max(state.busyMax, state.busy)
            return request
        }
    }

    private func receiveMore(_ connection: Int32, _ pending: inout [UInt8]) -> Bool {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        let count = recv(connection, &buffer, buffer.count, 0)
        if count > 0 { pending += buffer[..<count] }
        return count > 0
    }

    private func send(_ connection: Int32, _ text: String) {
        let bytes = Array(text.utf8)
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return }
            sent += count
        }
    }
}

func runOnThread(_ body: @escaping @Sendable () -> Void) throws {
    final class Start {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }
    let start = Unmanaged.passRetained(Start(body))
    var thread = pthread_t()
    let code = pthread_create(
        &thread, nil,
        { argument in
            guard let argument else { return nil }
            Unmanaged<Start>.fromOpaque(argument).takeRetainedValue().body()
            return nil
        }, start.toOpaque())
    guard code == 0 else {
        start.release()
        throw ServerDoesNotStart()
    }
    pthread_detach(thread)
}

/// The error that the body throws, which must be a `StorageError`.
func storageError(_ body: () async throws -> Void) async throws -> StorageError {
    do {
        try await body()
    } catch let error as StorageError {
        return error
    }
    throw NothingWasThrown()
}
struct NothingWasThrown: Error {}
