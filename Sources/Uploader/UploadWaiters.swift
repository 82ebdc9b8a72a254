import StoreCore

/// Who waits for which number to be durable.
struct UploadWaiters {
    struct Waiter {
        let continuation: CheckedContinuation<Void, any Error>
        /// Sleeps until the deadline.
        let alarm: Task<Void, Never>?

        /// Once; call it outside of locks.
        func resume(with result: Result<Void, any Error>) {
            alarm?.cancel()
            continuation.resume(with: result)
        }
    }
    private var waiters: [UInt64: (number: UInt64, waiter: Waiter)] = [:]
    private var nextID: UInt64 = 0

    /// An id that the waiter can be removed by, given before it is inserted.
    mutating func makeID() -> UInt64 {
        nextID += 1
        return nextID
    }
    mutating func insert(_ waiter: Waiter, for number: UInt64, id: UInt64) { waiters[id] = (number, waiter) }
    /// nil where it has gone on already.
    mutating func remove(_ id: UInt64) -> Waiter? { waiters.removeValue(forKey: id)?.waiter }

    mutating func removeReached(by frontier: UInt64) -> [Waiter] {
        let reached = waiters.filter { $0.value.number <= frontier }
        for id in reached.keys { waiters[id] = nil }
        return reached.sorted { ($0.value.number, $0.key) < ($1.value.number, $1.key) }.map(\.value.waiter)
    }
    mutating func removeAll() -> [Waiter] {
        defer { waiters = [:] }
        return waiters.sorted { $0.key < $1.key }.map(\.value.waiter)
    }
}
