import Synchronization

/// Lets one task at a time through, in the order in which they came; unlike a mutex it may be held across `await`.
/// For what is rare: commits, saves. Not reentrant.
public final class AsyncLock: Sendable {
    private struct State {
        var isHeld = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }
    private let state = Mutex(State())

    public init() {}
    /// Runs `body` alone. Waits without a bound, also in a cancelled task: bound what `body` does.
    public func withLock<R>(_ body: () async throws -> R) async rethrows -> R {
        await acquire()
        defer { release() }
        return try await body()
    }
    private func acquire() async {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                if state.isHeld { state.waiters.append(continuation) } else { state.isHeld = true; return true }
                return false
            }
            if isFree { continuation.resume() }
        }
    }
    private func release() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard !state.waiters.isEmpty else {
                state.isHeld = false
                return nil
            }
            return state.waiters.removeFirst()
        }
        next?.resume()
    }
}
