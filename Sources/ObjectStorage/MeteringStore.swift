public import StoreCore
import Synchronization

/// Counts and times what goes through to a store. Below a `RetryingStore` it sees each attempt; `noteRetry` is what to
/// give to that as `onRetry`. Thread-safe.
public final class MeteringStore: ObjectStore {
    public var location: String { base.location }
    private let base: any ObjectStore
    private let time: any TimeSource
    private struct State {
        var counts = RequestCounts()
        var latencies: [RequestKind: LatencyHistogram] = [:]
    }
    /// Guards the counters.
    private let state = Mutex(State())

    public init(_ base: any ObjectStore, time: any TimeSource = SystemTime()) {
        self.base = base
        self.time = time
    }

    public func counts() -> RequestCounts { state.withLock { $0.counts } }
    /// How long requests of a kind took, failed ones included.
    public func latency(of kind: RequestKind) -> LatencyHistogram {
        state.withLock { $0.latencies[kind] ?? LatencyHistogram() }
    }
    public func noteRetry() { state.withLock { $0.counts.retries += 1 } }

    public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        try await measuring(range == nil ? .get : .rangedGet) {
            try await base.get(key, range: range)
        } counting: {
            $0.bytesRead += UInt64($1.count)
        }
    }
    public func head(_ key: ObjectKey) async throws -> ObjectInfo? {
        try await measuring(.head) { try await base.head(key) }
    }
    public func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        state.withLock { $0.counts.bytesWritten += UInt64(bytes.count) }
        return try await measuring(.create) {
            try await base.create(key, bytes, sha256: sha256)
        } counting: {
            if $1 == .exists { $0.conflicts += 1 }
        }
    }
    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        try await measuring(.list) { try await base.list(prefix: prefix, after: after, limit: limit) }
    }
    public func delete(_ keys: [ObjectKey]) async throws {
        try await measuring(.delete, requests: UInt64((keys.count + 999) / 1000)) {
            try await base.delete(keys)
        } counting: { counts, _ in
            counts.objectsDeleted += UInt64(keys.count)
        }
    }

    private func measuring<R>(
        _ kind: RequestKind, requests: UInt64 = 1, _ body: () async throws -> R,
        counting: (inout RequestCounts, R) -> Void = { _, _ in }
    ) async throws -> R {
        let began = time.monotonicNanoseconds()
        state.withLock { $0.counts[kind] += requests }
        do {
            let result = try await body()
            record(kind, since: began)
            state.withLock { counting(&$0.counts, result) }
            return result
        } catch {
            record(kind, since: began)
            if ![.notFound, .cancelled].contains(error.storageCode) { state.withLock { $0.counts.errors += 1 } }
            throw error
        }
    }

    private func record(_ kind: RequestKind, since began: UInt64) {
        let took = time.monotonicNanoseconds() - began
        state.withLock { $0.latencies[kind, default: LatencyHistogram()].record(nanoseconds: took) }
    }
}
