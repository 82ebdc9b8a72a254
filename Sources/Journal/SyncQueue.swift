import StoreCore

/// Group commit: the first who asks leads and syncs for all that was appended so far; who comes meanwhile waits, and
/// the first of those whom that sync did not cover leads the next.
struct SyncQueue {
    typealias Continuation = CheckedContinuation<Turn, any Error>
    enum Turn { case covered, lead }
    struct Waiter {
        var upTo: WriteSequence
        var continuation: Continuation
    }
    struct Wakeups {
        var covered: [Continuation] = []
        var leader: Continuation?
    }

    private(set) var isSyncing = false
    private(set) var count: UInt64 = 0
    private var waiters: [Waiter] = []

    /// True when the caller leads; else it waits in `continuation`.
    mutating func enter(_ upTo: WriteSequence, _ continuation: Continuation) -> Bool {
        guard isSyncing else {
            isSyncing = true
            return true
        }
        waiters.append(Waiter(upTo: upTo, continuation: continuation))
        return false
    }
    /// Ends a sync that made everything up to `durable` survive.
    mutating func finish(durable: WriteSequence) -> Wakeups {
        count += 1
        var wakeups = Wakeups(covered: waiters.filter { $0.upTo <= durable }.map(\.continuation))
        waiters.removeAll { $0.upTo <= durable }
        isSyncing = !waiters.isEmpty
        if isSyncing { wakeups.leader = waiters.removeFirst().continuation }
        return wakeups
    }
    /// All who wait, when nothing will be acknowledged any more.
    mutating func abandon() -> [Continuation] {
        isSyncing = false
        defer { waiters = [] }
        return waiters.map(\.continuation)
    }
}
