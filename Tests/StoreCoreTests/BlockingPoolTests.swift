import StoreCore
import Synchronization
import Testing

@Suite struct BlockingWork {
    @Test func everyJobRunsOnceAndReturnsItsValue() async throws {
        let pool = BlockingPool(name: "test", threads: 3)
        let sum = try await withThrowingTaskGroup(of: Int.self) { group in
            for number in 1...500 { group.addTask { try await pool.run { number } } }
            return try await group.reduce(0, +)
        }
        #expect(sum == 500 * 501 / 2)
    }

    @Test func aJobsErrorReachesItsCaller() async {
        let pool = BlockingPool(name: "test", threads: 1)
        await #expect(throws: StorageError.self) { try await pool.run { throw StorageError(.full, "full") } }
    }

    @Test func neverMoreJobsAtOnceThanThreads() async throws {
        let pool = BlockingPool(name: "a-name-longer-than-the-kernel-keeps", threads: 2)
        let gauge = Gauge()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<50 {
                group.addTask {
                    try await pool.run {
                        gauge.enter()
                        var spin = 0
                        while spin < 10_000 { spin += 1 }
                        gauge.leave()
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(gauge.most <= 2)
    }

    @Test func aReleasedPoolFinishesWhatItWasGiven() async throws {
        func submitted() -> Task<Int, any Error> {
            let pool = BlockingPool(name: "test", threads: 1)
            return Task { try await pool.run { 7 } }
        }
        #expect(try await submitted().value == 7)
    }
}

/// How many are inside at once, and the most that ever were.
private final class Gauge: Sendable {
    private let state = Mutex((now: 0, most: 0))
    var most: Int { state.withLock { $0.most } }
    func enter() {
        state.withLock {
            $0.now += 1
            $0.most = max($0.most, $0.now)
        }
    }
    func leave() { state.withLock { $0.now -= 1 } }
}
