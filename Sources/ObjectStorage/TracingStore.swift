public import StoreCore
import Synchronization

/// A request with its place in time and its answer.
public struct TracedRequest: Sendable, Hashable {
    /// Beginnings and ends share one count, so that `a.ended < b.began` says that `a` was done before `b` was sent.
    public var began: Int
    public var ended: Int
    public var request: StoreRequest
    /// `created`, `exists`, `found`, a number of bytes or objects, or an error's code.
    public var outcome: String

    /// `create volumes/7/log/1/2 900 bytes: created`.
    public var line: String {
        var parts = [request.kind.rawValue]
        parts += request.kind == .delete ? request.keys.map(\.text).sorted() : request.keys.map(\.text)
        if let range = request.range { parts.append("\(range.lowerBound)..<\(range.upperBound)") }
        if let prefix = request.prefix { parts.append("'\(prefix)'") }
        if let after = request.after { parts.append("after \(after)") }
        if let limit = request.limit { parts.append("limit \(limit)") }
        if request.kind == .create { parts.append("\(request.byteCount) bytes") }
        return parts.joined(separator: " ") + ": \(outcome)"
    }
}

/// Writes down what goes through to a store, for golden traces and for proofs that references follow data (R3).
/// Grows until it is cleared. Thread-safe.
public final class TracingStore: ObjectStore {
    public var location: String { base.location }
    private let base: any ObjectStore
    private struct State {
        var requests = 0
        var ticks = 0
        var ended: [TracedRequest] = []
    }
    /// Guards the record.
    private let state = Mutex(State())

    public init(_ base: any ObjectStore) { self.base = base }

    /// What ended so far, in the order of the ends.
    public func requests() -> [TracedRequest] { state.withLock { $0.ended } }
    /// The same as text. `rename` replaces what differs from run to run, such as random identifiers.
    public func lines(rename: (String) -> String = { $0 }) -> [String] { requests().map { rename($0.line) } }
    public func clear() { state.withLock { $0.ended = [] } }

    public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        let request = StoreRequest(range == nil ? .get : .rangedGet, number: nextNumber(), keys: [key], range: range)
        return try await tracing(request) {
            try await base.get(key, range: range)
        } outcome: {
            "\($0.count) bytes"
        }
    }
    public func head(_ key: ObjectKey) async throws -> ObjectInfo? {
        try await tracing(StoreRequest(.head, number: nextNumber(), keys: [key])) {
            try await base.head(key)
        } outcome: {
            $0 == nil ? "none" : "found"
        }
    }
    public func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        let request = StoreRequest(.create, number: nextNumber(), keys: [key], byteCount: bytes.count)
        return try await tracing(request) {
            try await base.create(key, bytes, sha256: sha256)
        } outcome: {
            $0 == .created ? "created" : "exists"
        }
    }
    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        let request = StoreRequest(.list, number: nextNumber(), prefix: prefix, after: after, limit: limit)
        return try await tracing(request) {
            try await base.list(prefix: prefix, after: after, limit: limit)
        } outcome: {
            "\($0.objects.count) objects\($0.isTruncated ? " and more" : "")"
        }
    }
    public func delete(_ keys: [ObjectKey]) async throws {
        try await tracing(StoreRequest(.delete, number: nextNumber(), keys: keys)) {
            try await base.delete(keys)
        } outcome: {
            "done"
        }
    }

    private func nextNumber() -> Int {
        state.withLock { state in
            defer { state.requests += 1 }
            return state.requests
        }
    }

    private func tracing<R>(
        _ request: StoreRequest, _ body: () async throws -> R, outcome: (R) -> String
    ) async throws -> R {
        let began = state.withLock { state in
            state.ticks += 1
            return state.ticks
        }
        do {
            let result = try await body()
            record(request, began, outcome(result))
            return result
        } catch {
            record(request, began, error.storageCode.rawValue)
            throw error
        }
    }

    private func record(_ request: StoreRequest, _ began: Int, _ outcome: String) {
        state.withLock { state in
            state.ticks += 1
            state.ended.append(TracedRequest(began: began, ended: state.ticks, request: request, outcome: outcome))
        }
    }
}
