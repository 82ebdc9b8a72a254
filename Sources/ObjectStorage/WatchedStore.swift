public import StoreCore
import Synchronization

/// Notices that a store has stopped answering, that it answers again, and that a request took long. Put it below a
/// `RetryingStore`, where it sees each attempt. Thread-safe.
public final class WatchedStore: ObjectStore {
    public enum News: Sendable {
        /// Nothing has succeeded for `awayAfter`.
        case away(StorageError)
        /// It answers again, after so long.
        case back(after: Duration)
        case slow(RequestKind, Duration)
    }

    public var location: String { base.location }
    private let base: any ObjectStore
    private let time: any TimeSource
    private let awayAfter: UInt64
    private let slowAfter: UInt64
    private let tell: @Sendable (News) -> Void
    private struct State {
        var lastSuccess: UInt64
        /// Of failures since the last success: when the first of these requests began.
        var firstFailure: UInt64?
        /// Set once it was told.
        var awaySince: UInt64?
    }
    /// Guards when the store was last heard of.
    private let state: Mutex<State>

    /// - Parameter tell: called from any task; must not block.
    public init(
        _ base: any ObjectStore, time: any TimeSource = SystemTime(), awayAfter: Duration = .seconds(3),
        slowAfter: Duration = .seconds(10), tell: @escaping @Sendable (News) -> Void
    ) {
        self.base = base
        self.time = time
        self.awayAfter = UInt64(awayAfter / .nanoseconds(1))
        self.slowAfter = UInt64(slowAfter / .nanoseconds(1))
        self.tell = tell
        state = Mutex(State(lastSuccess: time.monotonicNanoseconds()))
    }

    public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        try await watching(range == nil ? .get : .rangedGet) { try await base.get(key, range: range) }
    }
    public func head(_ key: ObjectKey) async throws -> ObjectInfo? {
        try await watching(.head) { try await base.head(key) }
    }
    public func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        try await watching(.create) { try await base.create(key, bytes, sha256: sha256) }
    }
    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        try await watching(.list) { try await base.list(prefix: prefix, after: after, limit: limit) }
    }
    public func delete(_ keys: [ObjectKey]) async throws { try await watching(.delete) { try await base.delete(keys) } }

    private func watching<R>(_ kind: RequestKind, _ body: () async throws -> R) async throws -> R {
        let began = time.monotonicNanoseconds()
        do {
            let result = try await body()
            noteAnswer(kind, since: began)
            return result
        } catch {
            switch error.storageCode {
            case .unavailable, .denied: noteFailure(StorageError(error.storageCode, "\(error)"), since: began)
            case .cancelled: break
            // "Not found" is an answer.
            default: noteAnswer(kind, since: began)
            }
            throw error
        }
    }

    private func noteAnswer(_ kind: RequestKind, since began: UInt64) {
        let now = time.monotonicNanoseconds()
        let awaySince = state.withLock { state in
            defer { state = State(lastSuccess: now) }
            return state.awaySince
        }
        if let awaySince { tell(.back(after: .nanoseconds(Int64(clamping: now - awaySince)))) }
        if now - began >= slowAfter { tell(.slow(kind, .nanoseconds(Int64(clamping: now - began)))) }
    }

    /// Down since this request began, or since another was answered later.
    private func noteFailure(_ error: StorageError, since began: UInt64) {
        let now = time.monotonicNanoseconds()
        let isNews = state.withLock { state in
            let since = max(began, state.lastSuccess)
            guard state.awaySince == nil else { return false }
            let first = state.firstFailure ?? since
            state.firstFailure = first
            guard now - first >= awayAfter else { return false }
            state.awaySince = first
            return true
        }
        if isNews { tell(.away(error)) }
    }
}
