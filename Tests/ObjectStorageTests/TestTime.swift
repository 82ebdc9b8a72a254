import StoreCore
import Synchronization

/// A clock that only sleeping moves, and at once.
final class TestTime: TimeSource {
    private let state = Mutex((nanoseconds: UInt64(1), sleeps: [Duration]()))
    var sleeps: [Duration] { state.withLock { $0.sleeps } }

    func now() -> Timestamp { Timestamp(nanoseconds: Int64(monotonicNanoseconds())) }
    func monotonicNanoseconds() -> UInt64 { state.withLock { $0.nanoseconds } }
    func sleep(for duration: Duration) async throws {
        try Task.checkCancellation()
        let (seconds, attoseconds) = duration.components
        state.withLock {
            $0.nanoseconds += UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
            $0.sleeps.append(duration)
        }
        await Task.yield()
    }
}

/// The code of what `body` throws; nil when it throws nothing.
func code(of body: () async throws -> Void) async -> ErrorCode? {
    do {
        try await body()
        return nil
    } catch {
        return error.storageCode
    }
}
