import StoreCore
public import Volumes

/// Asks a running server, over its control socket. A value; each call has a connection of its own.
public struct ControlClient: Sendable {
    public let path: String
    /// Blocking calls wait here.
    private let thread = BlockingPool(name: "control", threads: 1)
    /// A server that lives answers its health at once.
    private static let healthSeconds = 10

    public init(path: String) { self.path = path }

    /// Who serves there; nil where nobody listens. Throws `busy` where somebody listens and does not answer.
    public func health() async throws -> HealthReport? {
        do {
            return try await ask("GET", "/healthz", timeoutSeconds: Self.healthSeconds)
        } catch let error as StorageError where error.code == .notFound {
            return nil
        } catch let error as StorageError where error.code == .unavailable {
            throw StorageError(.busy, "the server at \(path) does not answer", cause: error)
        }
    }

    public func statistics() async throws -> StatisticsReport { try await ask("GET", "/v1/stats", timeoutSeconds: 60) }

    /// Runs a command in the server.
    ///
    /// Throws what it throws there; `unavailable` where the server goes away meanwhile: it may have happened or not.
    public func run<C: Command>(_ command: C, progress: @escaping ProgressHandler) async throws -> C.Output {
        let body = try ControlJSON.encode(command)
        return try await thread.run { [path] in
            var exchange = try HTTPExchange("POST", "/v1/\(C.name)", body: body, at: path, timeoutSeconds: nil)
            do {
                guard C.isLong, exchange.status == 200 else { return try Self.output(&exchange) }
                return try Self.result(of: C.self, &exchange, progress)
            } catch is LostServer {
                throw StorageError(
                    .unavailable,
                    "the server went away during '\(C.name)', which may have happened or not: look with `zerofs list`")
            }
        }
    }

    private func ask<T: Decodable & Sendable>(
        _ method: String, _ path: String, timeoutSeconds: Int
    ) async throws -> T {
        try await thread.run { [socket = self.path] in
            var exchange = try HTTPExchange(method, path, body: nil, at: socket, timeoutSeconds: timeoutSeconds)
            let body = try exchange.wholeBody()
            return try ControlJSON.decode(from: body)
        }
    }

    private static func output<T: Decodable>(_ exchange: inout HTTPExchange) throws -> T {
        let body: [UInt8]
        do { body = try exchange.wholeBody() } catch { throw LostServer() }
        guard exchange.status == 200 else { throw try ControlJSON.decode(ErrorMessage.self, from: body).storageError }
        return try ControlJSON.decode(from: body)
    }

    private static func result<C: Command>(
        of _: C.Type, _ exchange: inout HTTPExchange, _ progress: ProgressHandler
    ) throws -> C.Output {
        var lines = LineSplitter()
        while true {
            let part: [UInt8]?
            do { part = try exchange.part() } catch { throw LostServer() }
            guard let part else { throw LostServer() }
            for line in lines.lines(adding: part) {
                let message = try ControlJSON.decode(StreamLine<C.Output>.self, from: line)
                if let report = message.progress { progress(report) }
                if let error = message.error {
                    throw StorageError(ErrorCode(rawValue: error.code) ?? .unavailable, error.message)
                }
                if let result = message.result { return result }
            }
        }
    }

    private struct LostServer: Error {}
}

/// Puts lines together that arrive in pieces.
struct LineSplitter {
    private var rest: [UInt8] = []

    mutating func lines(adding part: [UInt8]) -> [[UInt8]] {
        rest.append(contentsOf: part)
        var lines = rest.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map(Array.init)
        rest = lines.removeLast()
        return lines.filter { !$0.isEmpty }
    }
}
