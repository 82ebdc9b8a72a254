public import StoreCore
import Synchronization

/// Makes requests fail on purpose: by a hook, a script or a seeded draw. The hook may also wait, so that a test can
/// hold a request back until something else has happened. Thread-safe.
public final class FaultStore: ObjectStore {
    public typealias Hook = @Sendable (StoreRequest) async throws -> Fault?

    public var location: String { base.location }
    private let base: any ObjectStore
    private struct State {
        var hook: Hook
        var requests = 0
        var late: [@Sendable () async throws -> Void] = []
    }
    /// Guards the hook in force, the count of requests, and those that will happen late.
    private let state: Mutex<State>

    /// Without faults until `arm` is called.
    public convenience init(_ base: any ObjectStore) { self.init(base) { _ in nil } }
    /// - Parameter hook: asked before each request what shall go wrong; what it throws, the request throws.
    public init(_ base: any ObjectStore, hook: @escaping Hook) {
        self.base = base
        state = Mutex(State(hook: hook))
    }
    /// Faults by the request's number.
    public convenience init(_ base: any ObjectStore, script: [Int: Fault]) {
        self.init(base) { script[$0.number] }
    }
    /// Faults at random, the same for the same seed and order of requests.
    public convenience init(_ base: any ObjectStore, seed: UInt64, rates: FaultRates) {
        let draw = SeededFaults(seed: seed, rates: rates)
        self.init(base) { draw.next(for: $0) }
    }

    /// Puts another hook in force, for requests that come from now on.
    public func arm(_ hook: @escaping Hook) { state.withLock { $0.hook = hook } }
    public func disarm() { arm { _ in nil } }
    /// Lets the requests of `.failThenHappen` happen, in their order; what they throw nobody hears.
    public func releaseLate() async {
        let late = state.withLock { state in
            defer { state.late = [] }
            return state.late
        }
        for request in late {
            do { try await request() } catch { continue }
        }
    }

    public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        let fault = try await fault(range == nil ? .get : .rangedGet, keys: [key], range: range)
        let bytes = try await apply(fault) { [base] in try await base.get(key, range: range) }
        return fault?.damage(bytes) ?? bytes
    }
    public func head(_ key: ObjectKey) async throws -> ObjectInfo? {
        try await apply(fault(.head, keys: [key])) { [base] in try await base.head(key) }
    }
    public func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        let fault = try await fault(.create, keys: [key], byteCount: bytes.count)
        let stored = fault?.damage(bytes) ?? bytes
        return try await apply(fault) { [base] in try await base.create(key, stored, sha256: sha256) }
    }
    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        try await apply(fault(.list, prefix: prefix, after: after, limit: limit)) { [base] in
            try await base.list(prefix: prefix, after: after, limit: limit)
        }
    }
    public func delete(_ keys: [ObjectKey]) async throws {
        try await apply(fault(.delete, keys: keys)) { [base] in try await base.delete(keys) }
    }

    private func fault(
        _ kind: RequestKind, keys: [ObjectKey] = [], range: Range<UInt64>? = nil, prefix: String? = nil,
        after: ObjectKey? = nil, limit: Int? = nil, byteCount: Int = 0
    ) async throws -> Fault? {
        let (hook, number) = state.withLock { state in
            defer { state.requests += 1 }
            return (state.hook, state.requests)
        }
        return try await hook(
            StoreRequest(
                kind, number: number, keys: keys, range: range, prefix: prefix, after: after, limit: limit,
                byteCount: byteCount))
    }

    private func apply<R: Sendable>(_ fault: Fault?, _ body: @escaping @Sendable () async throws -> R) async throws -> R
    {
        switch fault {
        case .failBefore(let error): throw error
        case .failAfter(let error):
            _ = try await body()
            throw error
        case .failThenHappen(let error):
            state.withLock { $0.late.append { _ = try await body() } }
            throw error
        case .truncate, .corrupt, nil: return try await body()
        }
    }
}

private final class SeededFaults: Sendable {
    private let rates: FaultRates
    private let random: Mutex<SplitMix64>
    init(seed: UInt64, rates: FaultRates) {
        self.rates = rates
        random = Mutex(SplitMix64(seed: seed))
    }
    func next(for request: StoreRequest) -> Fault? {
        random.withLock { rates.fault(for: request, using: &$0) }
    }
}
