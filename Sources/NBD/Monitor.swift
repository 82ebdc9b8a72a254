import Glibc

/// A lock with a condition, for threads that may block: `Mutex` has no wait.
///
/// Never waited on from the cooperative pool; tasks only lock it, for short sections.
final class Monitor<State>: @unchecked Sendable {
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    /// Guarded by `mutex`.
    private let state: UnsafeMutablePointer<State>

    init(_ initial: State) {
        mutex = .allocate(capacity: 1)
        condition = .allocate(capacity: 1)
        state = .allocate(capacity: 1)
        state.initialize(to: initial)
        precondition(pthread_mutex_init(mutex, nil) == 0, "a mutex could not be made")
        precondition(pthread_cond_init(condition, nil) == 0, "a condition could not be made")
    }
    deinit {
        pthread_mutex_destroy(mutex)
        pthread_cond_destroy(condition)
        state.deinitialize(count: 1)
        mutex.deallocate()
        condition.deallocate()
        state.deallocate()
    }

    @inline(__always)
    func withLock<R, E: Error>(_ body: (inout State) throws(E) -> R) throws(E) -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return try body(&state.pointee)
    }
    /// Blocks the thread until `body` returns a value; it is asked again after each `wakeAll`.
    func wait<R>(until body: (inout State) -> R?) -> R {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        while true {
            if let result = body(&state.pointee) { return result }
            pthread_cond_wait(condition, mutex)
        }
    }
    func wakeAll() { pthread_cond_broadcast(condition) }
}
