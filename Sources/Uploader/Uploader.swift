public import ObjectStorage
public import StoreCore
import Synchronization

/// One volume's ordered uploads: objects go up in parallel, and are acknowledged in the order in which they were
/// submitted.
///
/// Each object is created with If-None-Match, and the same bytes are sent until they are there. Where the name is
/// taken, what lies there is read: its own bytes mean that an attempt with an unknown outcome had succeeded; anything
/// else is another writer's, and the uploader is fenced for ever (R4). Any thread may use it. It keeps itself alive
/// while uploads are under way; who drops it without `stop` leaves them to finish.
public final class Uploader: Sendable {
    struct Object: Sendable {
        let key: ObjectKey
        let bytes: [UInt8]
        let sha256: Digest
    }
    /// Guarded by the lock, which is never held while a handler, a waiter or the store is called.
    struct State {
        var queue: UploadQueue
        /// What is not yet durable.
        var objects: [UInt64: Object] = [:]
        var waiters = UploadWaiters()
        var handlers: [@Sendable (UInt64) -> Void] = []
        var endHandlers: [@Sendable (StorageError) -> Void] = []
        var failureHandlers: [@Sendable (StorageError) -> Void] = []
        /// The frontier that handlers were told of; one task at a time tells them.
        var announced: UInt64 = 0
        var isAnnouncing = false
        var isEndAnnounced = false
        /// Attempts that were begun and have not ended. `running` also has those that have not begun: a stop cancels
        /// both, and waits for the first.
        var attempts = 0
        var running: [UInt64: Task<Void, Never>] = [:]
        var stopping: [CheckedContinuation<Void, Never>] = []
        var resting: [UInt64: Task<Void, Never>] = [:]
    }

    let store: any ObjectStore
    let slots: UploadSlots
    let time: any TimeSource
    let confirm: @Sendable () async throws -> Void
    let state: Mutex<State>

    /// - Parameters:
    ///   - policy: the delays between attempts; its deadline and number of attempts are not used.
    ///   - seed: spreads the retries of several uploaders over time.
    ///   - confirm: called before an upload counts that failed before, or took longer than `doubtAfter`; throws
    ///     `fenced` where another owns the log by now. Its place in the log may have been taken, and given up, by then.
    public init(
        store: any ObjectStore, slots: UploadSlots, time: any TimeSource,
        policy: RetryPolicy = RetryPolicy(deadline: nil), seed: UInt64 = 0,
        confirm: @escaping @Sendable () async throws -> Void = {}
    ) {
        self.store = store
        self.slots = slots
        self.time = time
        self.confirm = confirm
        let policy = RetryPolicy(delayFirst: policy.delayFirst, delayMax: policy.delayMax, deadline: nil)
        state = Mutex(State(queue: UploadQueue(policy: policy, seed: seed)))
    }

    /// An attempt that took this long may belong to a process that was stopped, or a machine that was suspended,
    /// meanwhile. A machine whose clock stood still as well goes unnoticed: what it then acknowledges late is in the
    /// log that its successor read all the same, because the fence never goes.
    static let doubtAfter = Duration.seconds(30)

    /// Everything up to this number is durable. Never moves back.
    public var frontier: UInt64 { state.withLock { $0.queue.frontier } }

    /// Takes an object for upload. Never waits: the caller bounds the memory.
    ///
    /// - Returns: its number: 1, 2, 3… in the order of the calls. After a fence or a stop the number is given all the
    ///   same and the object forgotten; waiting for it throws.
    @discardableResult
    public func submit(key: ObjectKey, bytes: [UInt8], sha256: Digest) -> UInt64 {
        let now = time.monotonicNanoseconds()
        let (number, actions) = state.withLock { state in
            let (number, actions) = state.queue.submit(byteCount: bytes.count, at: now)
            if !actions.isEmpty { state.objects[number] = Object(key: key, bytes: bytes, sha256: sha256) }
            return (number, actions)
        }
        perform(actions)
        return number
    }

    /// Called with each new frontier, in order and one call at a time; several steps may be told as one. Must not
    /// block.
    /// Who waits already for a number goes on after the handlers were told of it.
    public func onAdvance(_ body: @escaping @Sendable (UInt64) -> Void) {
        state.withLock { $0.handlers.append(body) }
    }

    /// Called after each attempt that failed and will be made again: for the log. Must not block.
    public func onFailure(_ body: @escaping @Sendable (StorageError) -> Void) {
        state.withLock { $0.failureHandlers.append(body) }
    }

    /// Called once, when a fence or a stop ends the uploads; at once if that has happened.
    public func onEnd(_ body: @escaping @Sendable (StorageError) -> Void) {
        let ending = state.withLock { state -> StorageError? in
            guard !state.isEndAnnounced else { return state.queue.ending }
            state.endHandlers.append(body)
            return nil
        }
        if let ending { body(ending) }
    }

    /// Why nothing will be acknowledged any more; nil while uploads go on.
    public var ending: StorageError? { state.withLock { $0.queue.ending } }

    public var status: UploadStatus {
        let now = time.monotonicNanoseconds()
        return state.withLock { state in
            let queue = state.queue
            let lag = queue.oldestSubmittedAt.map { now > $0 ? now - $0 : 0 } ?? 0
            return UploadStatus(
                frontier: queue.frontier, submitted: queue.submitted, inFlight: queue.inFlight,
                queuedBytes: queue.byteCount, lag: .nanoseconds(Int64(clamping: lag)), lastError: queue.lastError,
                ending: queue.ending)
        }
    }
}
