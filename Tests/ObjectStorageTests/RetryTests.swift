import ObjectStorage
import StoreCore
import Synchronization
import Testing

@Suite struct AmbiguousCreationIsResolved {
    private func retrying(_ base: any ObjectStore, attemptsMax: Int? = nil) -> RetryingStore {
        RetryingStore(base, policy: RetryPolicy(attemptsMax: attemptsMax), time: TestTime(), seed: 1)
    }

    @Test func ourOwnObjectMetAgainIsCreated() async throws {
        let memory = MemoryStore()
        let store = retrying(FaultStore(memory, script: [0: .failAfter()]))
        #expect(try await store.create("key", [1, 2, 3]) == .created)
        #expect(memory.snapshotOfObjects() == ["key": [1, 2, 3]])
        #expect(try await store.create("key", [1, 2, 3]) == .exists)
    }

    @Test(arguments: [[9, 9, 9], [1, 2], [1, 2, 3, 4], []] as [[UInt8]])
    func aRivalsObjectStaysARivals(rival: [UInt8]) async throws {
        let memory = MemoryStore()
        let faulty = FaultStore(memory) { request in
            guard request.number == 0 else { return nil }
            _ = try await memory.create("key", rival)
            return .failBefore()
        }
        #expect(try await retrying(faulty).create("key", [1, 2, 3]) == .exists)
        #expect(memory.snapshotOfObjects() == ["key": rival])
    }

    @Test func withoutAFailureNothingIsReadBack() async throws {
        let metered = MeteringStore(MemoryStore(["key": [1, 2, 3]]))
        #expect(try await retrying(metered).create("key", [1, 2, 3]) == .exists)
        #expect(metered.counts().total == 1)
    }

    @Test func aRequestThatHappensLateLosesToItsOwnRetry() async throws {
        let memory = MemoryStore()
        let faulty = FaultStore(memory, script: [0: .failThenHappen()])
        #expect(try await retrying(faulty).create("key", [1]) == .created)
        await faulty.releaseLate()
        #expect(memory.snapshotOfObjects() == ["key": [1]])
    }

    @Test func readingBackIsTriedAgainToo() async throws {
        let faulty = FaultStore(MemoryStore(), script: [0: .failAfter(), 2: .failBefore(), 3: .failBefore()])
        #expect(try await retrying(faulty).create("key", [1]) == .created)
    }

    /// Created once, deleted by someone else, and asked for again: a second effect would be worse than an error.
    @Test func anObjectThatVanishedMeanwhileIsNotCreatedAgain() async throws {
        let memory = MemoryStore()
        let faulty = FaultStore(memory) { request in
            switch request.number {
            case 0: return .failAfter()
            case 2: memory.remove("key")
            default: break
            }
            return nil
        }
        #expect(await code { _ = try await retrying(faulty).create("key", [1]) } == .unavailable)
        #expect(memory.objectCount == 0)
    }

    @Test func aClearErrorAfterAnAmbiguousOneStaysAmbiguous() async throws {
        let denied = StorageError(.denied, "keys expired")
        let faulty = FaultStore(MemoryStore(), script: [0: .failAfter(), 1: .failBefore(denied)])
        #expect(await code { _ = try await retrying(faulty).create("key", [1]) } == .unavailable)
        let clear = FaultStore(MemoryStore(), script: [0: .failBefore(denied)])
        #expect(await code { _ = try await retrying(clear).create("key", [1]) } == .denied)
    }

    @Test func aCancelledCreationSaysThatItMayHaveHappened() async throws {
        let store = retrying(FaultStore(MemoryStore()) { _ in .failAfter() })
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await code { _ = try await store.create("key", [1]) }
        }
        #expect(await task.value == .unavailable)
    }
}

@Suite struct Retrying {
    private let time = TestTime()

    @Test func itGivesUpAtTheDeadlineAndSaysHowOftenItTried() async throws {
        let policy = RetryPolicy(delayFirst: .milliseconds(100), delayMax: .seconds(2), deadline: .seconds(30))
        let metered = MeteringStore(FaultStore(MemoryStore()) { _ in .failBefore() }, time: time)
        let store = RetryingStore(metered, policy: policy, time: time, seed: 7) { _, _ in metered.noteRetry() }
        do {
            _ = try await store.get("key")
            Issue.record("nothing was thrown")
        } catch let error as StorageError {
            #expect(error.code == .unavailable && error.message.hasPrefix("gave up reading object key in memory after"))
            #expect(error.description.contains("injected fault"))
        }
        #expect(time.monotonicNanoseconds() <= 30_000_000_000)
        #expect(time.monotonicNanoseconds() >= 25_000_000_000)
        let counts = metered.counts()
        #expect(counts.get == counts.retries + 1 && counts.errors == counts.get && counts.retries > 15)
        #expect(time.sleeps.allSatisfy { $0 <= .seconds(2) })
    }

    @Test func attemptsAreBounded() async throws {
        let metered = MeteringStore(FaultStore(MemoryStore()) { _ in .failBefore() })
        let store = RetryingStore(metered, policy: RetryPolicy(attemptsMax: 3), time: time, seed: 7)
        #expect(await code { try await store.delete(["a"]) } == .unavailable)
        #expect(metered.counts().delete == 3)
    }

    @Test(arguments: ErrorCode.allCases.filter { $0 != .unavailable })
    func onlyUnavailableIsTriedAgain(code expected: ErrorCode) async throws {
        let metered = MeteringStore(FaultStore(MemoryStore()) { _ in .failBefore(StorageError(expected, "no")) })
        let store = RetryingStore(metered, time: time, seed: 7)
        #expect(await code { _ = try await store.get("a") } == expected)
        #expect(await code { _ = try await store.head("a") } == expected)
        #expect(await code { _ = try await store.create("a", []) } == expected)
        #expect(await code { _ = try await store.list(prefix: "", after: nil, limit: 1) } == expected)
        #expect(await code { try await store.delete(["a"]) } == expected)
        #expect(metered.counts().total == 5 && time.sleeps.isEmpty)
    }

    @Test func delaysGrowAndAreSpreadOut() {
        let policy = RetryPolicy(delayFirst: .milliseconds(100), delayMax: .seconds(1), deadline: nil)
        var random = SplitMix64(seed: 1)
        for (failures, longest) in [(1, 100), (2, 200), (3, 400), (4, 800), (5, 1000), (500, 1000)] {
            let delays = (0..<400).compactMap { _ in policy.delay(failures: failures, elapsed: .zero, using: &random) }
            #expect(delays.count == 400 && delays.allSatisfy { $0 <= .milliseconds(longest) })
            #expect(delays.contains { $0 < .milliseconds(longest) * 0.1 })
            #expect(delays.contains { $0 > .milliseconds(longest) * 0.9 })
        }
    }

    @Test func aCancelledReadStops() async throws {
        let store = RetryingStore(FaultStore(MemoryStore()) { _ in .failBefore() }, time: time, seed: 7)
        let task = Task {
            withUnsafeCurrentTask { $0?.cancel() }
            return await code { _ = try await store.get("key") }
        }
        #expect(await task.value == .cancelled)
    }
}
