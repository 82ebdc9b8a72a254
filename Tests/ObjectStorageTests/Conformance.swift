import ObjectStorage
import StoreConformance
import StoreCore
import Testing

@Suite struct EveryStoreKeepsTheContract {
    @Test(arguments: ObjectStoreConformance.checks)
    func memory(check: ConformanceCheck) async throws { try await check.run(MemoryStore()) }

    @Test(arguments: ObjectStoreConformance.checks)
    func directory(check: ConformanceCheck) async throws {
        try await withTemporaryDirectory { try await check.run(DirectoryStore(path: $0)) }
    }

    @Test(arguments: ObjectStoreConformance.checks)
    func prefixOfADirectory(check: ConformanceCheck) async throws {
        try await withTemporaryDirectory { path in
            let base = try await DirectoryStore(path: path)
            _ = try await base.create("some/prefiy/a", [1])
            _ = try await base.create("some/prefix-a/a", [1])
            try await check.run(PrefixStore(base, prefix: "/some/prefix/"))
            #expect(try await base.get("some/prefiy/a") == [1])
        }
    }

    @Test(arguments: ObjectStoreConformance.checks)
    func allDecoratorsTogether(check: ConformanceCheck) async throws {
        let time = TestTime()
        let slow = LatencyStore(
            MemoryStore(), profile: LatencyProfile(everyRequest: .milliseconds(20), bytesPerSecond: 1 << 30), time: time
        )
        let metered = MeteringStore(TracingStore(PrefixStore(FaultStore(slow), prefix: "p")), time: time)
        try await check.run(RetryingStore(metered, time: time, seed: 1) { _, _ in metered.noteRetry() })
    }

    /// A third of all requests fail, half of these after their effect; with retries nobody notices.
    @Test(arguments: ObjectStoreConformance.checks.filter { $0.name != ObjectStoreConformance.equalBytes.name })
    func retriesOverAFaultyStore(check: ConformanceCheck) async throws {
        let rates = FaultRates(failBefore: 0.17, failAfter: 0.17)
        for seed in 1...3 as ClosedRange<UInt64> {
            let faulty = FaultStore(MemoryStore(), seed: seed, rates: rates)
            try await check.run(
                RetryingStore(faulty, policy: RetryPolicy(deadline: nil), time: TestTime(), seed: seed))
        }
    }
}
