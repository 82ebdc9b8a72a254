public import StoreCore
import Synchronization

/// Tries again what a store answers with `unavailable`, as the policy says; every other error passes at once.
///
/// Reads, lists and deletions are repeated as they are. A creation sends identical bytes each time; once an attempt
/// failed, it may have happened all the same, so that a later `.exists` can mean our own object: it is read back, and
/// is `.created` exactly when it holds our bytes (each sealing has a salt of its own, a rival's cannot be equal).
/// An error of a creation after such an attempt stays ambiguous, and is `unavailable` whatever its reason.
/// When the task is cancelled, it stops trying: reads throw `CancellationError`, a creation the ambiguous error.
/// Thread-safe.
public final class RetryingStore: ObjectStore {
    public var location: String { base.location }
    private let base: any ObjectStore
    private let policy: RetryPolicy
    private let time: any TimeSource
    private let onRetry: (@Sendable (RequestKind, any Error) -> Void)?
    /// Jitter only.
    private let random: Mutex<SplitMix64>

    /// - Parameters:
    ///   - seed: of the jitter, so that a simulation repeats.
    ///   - onRetry: told of each failure that will be tried again; called from any task.
    public init(
        _ base: any ObjectStore, policy: RetryPolicy = RetryPolicy(), time: any TimeSource = SystemTime(), seed: UInt64,
        onRetry: (@Sendable (RequestKind, any Error) -> Void)? = nil
    ) {
        self.base = base
        self.policy = policy
        self.time = time
        self.onRetry = onRetry
        random = Mutex(SplitMix64(seed: seed))
    }

    public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        try await repeating(range == nil ? .get : .rangedGet, "reading object \(key)") {
            try await base.get(key, range: range)
        }
    }
    public func head(_ key: ObjectKey) async throws -> ObjectInfo? {
        try await repeating(.head, "looking for object \(key)") { try await base.head(key) }
    }
    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        try await repeating(.list, "listing \(prefix)") {
            try await base.list(prefix: prefix, after: after, limit: limit)
        }
    }
    public func delete(_ keys: [ObjectKey]) async throws {
        try await repeating(.delete, "deleting \(keys.count) objects") { try await base.delete(keys) }
    }

    public func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        // Before anything can be ambiguous, so that a caller's mistake is always called one.
        try key.requireValid()
        var attempts = Attempts(began: time.monotonicNanoseconds())
        while true {
            do {
                return try await createOnce(key, bytes, sha256, mayHaveHappened: attempts.failures > 0)
            } catch  where error.storageCode == .unavailable {
                try await waitForNextCreation(of: key, after: error, &attempts)
            } catch  where attempts.failures > 0 {
                throw StorageError(
                    .unavailable, "object \(key) may or may not have been created in \(location)", cause: error)
            }
        }
    }

    private func createOnce(
        _ key: ObjectKey, _ bytes: [UInt8], _ sha256: Digest?, mayHaveHappened: Bool
    ) async throws -> CreateOutcome {
        let outcome = try await base.create(key, bytes, sha256: sha256)
        guard outcome == .exists, mayHaveHappened else { return outcome }
        return try await base.get(key) == bytes ? .created : .exists
    }

    private func waitForNextCreation(
        of key: ObjectKey, after error: any Error, _ attempts: inout Attempts
    ) async throws {
        do {
            try await wait(.create, "creating object \(key)", after: error, &attempts)
        } catch is CancellationError {
            throw StorageError(
                .unavailable, "stopped while creating object \(key) in \(location); it may have been created",
                cause: error)
        }
    }

    private func repeating<R>(
        _ kind: RequestKind, _ what: @autoclosure () -> String, _ attempt: () async throws -> R
    ) async throws -> R {
        var attempts = Attempts(began: time.monotonicNanoseconds())
        while true {
            do {
                return try await attempt()
            } catch  where error.storageCode == .unavailable {
                try await wait(kind, what(), after: error, &attempts)
            }
        }
    }

    /// Returns when it is time for the next attempt; throws when there is none.
    private func wait(
        _ kind: RequestKind, _ what: String, after error: any Error, _ attempts: inout Attempts
    ) async throws {
        attempts.failures += 1
        let failures = attempts.failures
        let elapsed = Duration.nanoseconds(Int64(clamping: time.monotonicNanoseconds() - attempts.began))
        guard let delay = random.withLock({ policy.delay(failures: failures, elapsed: elapsed, using: &$0) }) else {
            let seconds = elapsed.components.seconds
            throw StorageError(
                .unavailable, "gave up \(what) in \(location) after \(failures) attempts in \(seconds) s", cause: error)
        }
        onRetry?(kind, error)
        try await time.sleep(for: delay)
    }

    private struct Attempts {
        let began: UInt64
        var failures = 0
    }
}
