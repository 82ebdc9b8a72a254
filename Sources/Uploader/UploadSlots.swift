import Synchronization

/// Bounds the uploads in flight of a process; all its volumes share it. Any thread may use it.
///
/// First come, first served, but for retries, which go before: a frontier waits for them.
public final class UploadSlots: Sendable {
    private struct State {
        var free: Int
        var retries = Line()
        var others = Line()
    }
    /// A queue whose front is cut off now and then.
    private struct Line {
        private var waiting: [@Sendable () -> Void] = []
        private var served = 0
        mutating func append(_ start: @escaping @Sendable () -> Void) { waiting.append(start) }
        mutating func popFirst() -> (@Sendable () -> Void)? {
            guard served < waiting.count else { return nil }
            defer {
                served += 1
                if served > 64, served * 2 > waiting.count {
                    waiting.removeFirst(served)
                    served = 0
                }
            }
            return waiting[served]
        }
    }

    public let inFlightMax: Int
    private let state: Mutex<State>

    public init(inFlightMax: Int) {
        precondition(inFlightMax > 0, "at least one upload at a time")
        self.inFlightMax = inFlightMax
        state = Mutex(State(free: inFlightMax))
    }

    /// Calls `start` as soon as a slot is free, perhaps at once, on this thread or on one that gives a slot back.
    /// `start` must not block; the slot is its until `release`.
    func acquire(isRetry: Bool, _ start: @escaping @Sendable () -> Void) {
        let mayStart = state.withLock { state in
            if state.free > 0 {
                state.free -= 1
                return true
            }
            if isRetry { state.retries.append(start) } else { state.others.append(start) }
            return false
        }
        if mayStart { start() }
    }

    func release() {
        let next = state.withLock { state -> (@Sendable () -> Void)? in
            if let next = state.retries.popFirst() ?? state.others.popFirst() { return next }
            state.free += 1
            return nil
        }
        next?()
    }
}
