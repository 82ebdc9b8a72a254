import FlyingFox
import FlyingSocks
import Foundation
import Logging
import StoreCore
import Synchronization
import Volumes

/// Answers requests: finds what a path names, runs it, and puts its outcome into a response.
final class ControlHandler: HTTPHandler {
    let isDraining = Mutex(false)
    private let store: any StoreCommands
    private let health: HealthReport
    private let log: Logger
    private let snapshot: @Sendable () async -> ServerSnapshot

    /// A command's body is a few names and numbers, or a witness: a line for each volume.
    private static let bodyBytesMax = 16 << 20
    /// Lines of progress that wait for a slow reader; older ones go first, a result never.
    private static let linesWaitingMax = 64

    init(
        store: any StoreCommands, health: HealthReport, log: Logger,
        snapshot: @escaping @Sendable () async -> ServerSnapshot
    ) {
        self.store = store
        self.health = health
        self.log = log
        self.snapshot = snapshot
    }

    func handleRequest(_ request: HTTPRequest) async throws -> HTTPResponse {
        do {
            return try await answer(request)
        } catch {
            log.debug("\(request.method.rawValue) \(request.path): \(error)")
            return try Self.response(error)
        }
    }

    private func answer(_ request: HTTPRequest) async throws -> HTTPResponse {
        switch (request.method, request.path) {
        case (.GET, "/healthz"): return try healthResponse()
        case (.GET, "/metrics"):
            return Self.response(.ok, "text/plain; version=0.0.4", Array(MetricsPage(await snapshot()).text.utf8))
        case (.GET, "/v1/stats"):
            return Self.response(.ok, json, try ControlJSON.encode(StatisticsReport(await snapshot())))
        case (.POST, let path) where path.hasPrefix("/v1/"):
            guard let command = CommandTable.named(String(path.dropFirst(4))) else { throw Self.unknown(request) }
            return try await run(command, request)
        default: throw Self.unknown(request)
        }
    }

    private func healthResponse() throws -> HTTPResponse {
        var health = health
        let draining = isDraining.withLock { $0 }
        if draining { health.status = .draining }
        return Self.response(draining ? .serviceUnavailable : .ok, json, try ControlJSON.encode(health))
    }

    // MARK: Commands

    private func run<C: Command>(_ type: C.Type, _ request: HTTPRequest) async throws -> HTTPResponse {
        guard !isDraining.withLock({ $0 }) else { throw StorageError(.busy, "the server is shutting down") }
        try Self.requireOwnHost(request)
        let command = try decode(type, try await Self.body(of: request))
        return C.isLong ? stream(command) : try await runNow(command)
    }

    private func runNow<C: Command>(_ command: C) async throws -> HTTPResponse {
        let began = ContinuousClock.now
        let output = try await command.run(on: store, progress: { _ in })
        log.info("command \(C.name): done in \(ContinuousClock.now - began)")
        return Self.response(.ok, json, try ControlJSON.encode(output))
    }

    /// A client that goes away cancels the command.
    private func stream<C: Command>(_ command: C) -> HTTPResponse {
        let (lines, continuation) = AsyncStream<[UInt8]>.makeStream(
            bufferingPolicy: .bufferingNewest(Self.linesWaitingMax))
        let task = Task { [store, log] in
            defer { continuation.finish() }
            let throttle = ProgressThrottle()
            do {
                let output = try await command.run(on: store) { report in
                    guard throttle.admits(report) else { return }
                    if let line = Self.line(StreamLine<C.Output>(progress: report)) { continuation.yield(line) }
                }
                log.info("command \(C.name): done")
                continuation.yield(Self.line(StreamLine(result: output)) ?? [])
            } catch {
                log.warning("command \(C.name): \(error)")
                continuation.yield(Self.line(StreamLine<C.Output>(error: ErrorMessage(error).error)) ?? [])
            }
        }
        continuation.onTermination = { if case .cancelled = $0 { task.cancel() } }
        return HTTPResponse(
            statusCode: .ok, headers: [.contentType: "application/x-ndjson"],
            body: HTTPBodySequence(from: EventStream(lines: lines)))
    }

    /// nil cannot happen: all of these are plain values.
    private static func line(_ message: some Encodable) -> [UInt8]? {
        do { return try ControlJSON.encode(message) + [UInt8(ascii: "\n")] } catch { return nil }
    }

    private func decode<C: Command>(_: C.Type, _ body: [UInt8]) throws -> C {
        do { return try ControlJSON.decode(C.self, from: body.isEmpty ? Array("{}".utf8) : body) } catch {
            throw StorageError(.invalid, "the body is not what '\(C.name)' wants (docs/cli.md)", cause: error)
        }
    }

    /// A web page whose name was made to point here (DNS rebinding) sends that name. Figures are open to it, commands
    /// are not; over the socket file nobody comes but its owner.
    private static func requireOwnHost(_ request: HTTPRequest) throws(StorageError) {
        let host = request.headers[.host] ?? ""
        let name = host.hasPrefix("[") ? host.prefix { $0 != "]" } : host.prefix { $0 != ":" }
        let isAddress = name == "localhost" || name.allSatisfy { $0.isHexDigit || ".:[".contains($0) }
        guard isAddress else {
            throw StorageError(.denied, "send commands to an address or localhost, not to '\(host)'")
        }
    }

    private static func body(of request: HTTPRequest) async throws -> [UInt8] {
        // A web page can make a browser send plain text anywhere, JSON only where it is welcome.
        let type = request.headers[.contentType] ?? ""
        guard type.hasPrefix(json) else { throw StorageError(.invalid, "send Content-Type: \(json)") }
        var body: [UInt8] = []
        for try await part in request.bodySequence {
            body.append(contentsOf: part)
            guard body.count <= bodyBytesMax else { throw StorageError(.invalid, "the body is too long") }
        }
        return body
    }

    // MARK: Responses

    private static func unknown(_ request: HTTPRequest) -> StorageError {
        StorageError(.notFound, "there is no \(request.method.rawValue) \(request.path)")
    }
    private static func response(_ error: any Error) throws -> HTTPResponse {
        response(error.storageCode.httpStatus, json, try ControlJSON.encode(ErrorMessage(error)))
    }
    private static func response(_ status: HTTPStatusCode, _ type: String, _ body: [UInt8]) -> HTTPResponse {
        HTTPResponse(statusCode: status, headers: [.contentType: type], body: Data(body + (type == json ? [10] : [])))
    }
}

private let json = "application/json"
