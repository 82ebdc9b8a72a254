import ObjectStorage
import StoreCore
import Testing

@Suite struct Metering {
    @Test func everyRequestCountsUnderItsKind() async throws {
        let store = MeteringStore(MemoryStore())
        _ = try await store.create("a", [1, 2, 3])
        _ = try await store.create("a", [4])
        _ = try await store.get("a")
        _ = try await store.get("a", range: 1..<2)
        _ = try await store.head("a")
        #expect(await code { _ = try await store.get("none") } == .notFound)
        #expect(await code { _ = try await store.get("a", range: 9..<10) } == .invalid)
        let before = store.counts()
        try await store.delete((0..<1001).map { ObjectKey("k\($0)") })
        _ = try await store.list(prefix: "", after: nil, limit: 5)
        var expected = RequestCounts()
        (expected.get, expected.rangedGet, expected.head, expected.create) = (2, 2, 1, 2)
        (expected.errors, expected.conflicts, expected.bytesRead, expected.bytesWritten) = (1, 1, 4, 4)
        #expect(before == expected)
        let since = store.counts() - before
        #expect(since.delete == 2 && since.list == 1 && since.objectsDeleted == 1001 && since.total == 3)
        #expect(before + since == store.counts())
        #expect(store.latency(of: .get).count == 2 && store.latency(of: .delete).count == 1)
    }

    @Test func latencyIsTimeOnTheGivenClock() async throws {
        let time = TestTime()
        let profile = LatencyProfile(
            roundTrip: [.create: .milliseconds(40), .get: .milliseconds(10)], bytesPerSecond: 1000)
        let store = MeteringStore(LatencyStore(MemoryStore(), profile: profile, time: time), time: time)
        _ = try await store.create("a", [UInt8](repeating: 0, count: 60))
        _ = try await store.get("a")
        #expect(store.latency(of: .create).max == 100_000_000)
        #expect(store.latency(of: .get).max == 70_000_000)
    }
}

@Suite struct Tracing {
    @Test func linesAreTheRequestsInOrder() async throws {
        let store = TracingStore(MemoryStore())
        _ = try await store.create("volumes/7/a", [1, 2])
        _ = try await store.create("volumes/7/a", [1, 2])
        _ = try await store.get("volumes/7/a", range: 0..<1)
        _ = try await store.list(prefix: "volumes/", after: "volumes/7", limit: 5)
        _ = try await store.head("none")
        #expect(await code { _ = try await store.get("none") } == .notFound)
        try await store.delete(["b", "a"])
        #expect(
            store.lines { $0.replacing("volumes/7", with: "volumes/V") } == [
                "create volumes/V/a 2 bytes: created",
                "create volumes/V/a 2 bytes: exists",
                "ranged-get volumes/V/a 0..<1: 1 bytes",
                "list 'volumes/' after volumes/V limit 5: 1 objects",
                "head none: none",
                "get none: not-found",
                "delete a b: done",
            ])
        let requests = store.requests()
        #expect(zip(requests, requests.dropFirst()).allSatisfy { $0.ended < $1.began })
        store.clear()
        #expect(store.lines().isEmpty)
    }
}

@Suite struct Faults {
    @Test func beforeHasNoEffectAndAfterHas() async throws {
        let memory = MemoryStore()
        let store = FaultStore(memory, script: [0: .failBefore(), 1: .failAfter()])
        #expect(await code { _ = try await store.create("a", [1]) } == .unavailable)
        #expect(memory.objectCount == 0)
        #expect(await code { _ = try await store.create("a", [1]) } == .unavailable)
        #expect(memory.objectCount == 1)
    }

    @Test func damageShowsInWhatIsReadOrStored() async throws {
        let memory = MemoryStore(["a": [1, 2, 3]])
        let store = FaultStore(
            memory, script: [0: .truncate(toBytes: 2), 1: .corrupt(atByte: 1, mask: 0x80), 2: .corrupt(atByte: 0)])
        #expect(try await store.get("a") == [1, 2])
        #expect(try await store.get("a") == [1, 130, 3])
        _ = try await store.create("b", [8])
        #expect(memory.snapshotOfObjects() == ["a": [1, 2, 3], "b": [9]])
    }

    @Test func theSameSeedGivesTheSameFaults() async throws {
        func run(seed: UInt64) async -> [ErrorCode?] {
            let store = FaultStore(
                MemoryStore(), seed: seed, rates: FaultRates(failBefore: 0.2, failAfter: 0.2, corruptReads: 0.1))
            var codes: [ErrorCode?] = []
            for number in 0..<100 {
                codes.append(await code { _ = try await store.create(ObjectKey("k\(number)"), []) })
            }
            return codes
        }
        let first = await run(seed: 5)
        let again = await run(seed: 5)
        let other = await run(seed: 6)
        #expect(first == again && first != other && first.contains(.unavailable) && first.contains(nil))
    }

    @Test func hooksCanBeArmedAndDisarmed() async throws {
        let store = FaultStore(MemoryStore())
        _ = try await store.create("a", [1])
        store.arm { $0.kind == .get ? .failBefore(StorageError(.denied, "no")) : nil }
        #expect(await code { _ = try await store.get("a") } == .denied)
        #expect(try await store.head("a") != nil)
        store.disarm()
        #expect(try await store.get("a") == [1])
    }
}

@Suite struct Memory {
    @Test func damageIsDoneBehindTheEnginesBack() async throws {
        let store = MemoryStore(["b": [1, 2, 3], "a": [4]])
        #expect(store.keys == ["a", "b"] && store.byteCount == 4)
        #expect(store.corrupt("b", at: 1, mask: 0xff) && !store.corrupt("b", at: 3) && !store.corrupt("c", at: 0))
        #expect(store.truncate("b", to: 2) && !store.truncate("b", to: 2) && !store.truncate("c", to: 0))
        #expect(store.remove("a") && !store.remove("a"))
        store.replace("c", [7])
        #expect(store.snapshotOfObjects() == ["b": [1, 253], "c": [7]])
    }

    @Test func aCopyGoesItsOwnWay() async throws {
        let store = MemoryStore(["a": [1]])
        let copy = MemoryStore(store.snapshotOfObjects())
        _ = try await store.create("b", [2])
        #expect(copy.keys == ["a"] && store.keys == ["a", "b"])
    }
}

@Suite struct Prefixes {
    @Test(arguments: [("a/b", "a/b/key"), ("/a/", "a/b/key"), ("", "key"), ("//", "key")])
    func keysGoThereAndBack(prefix: String, outer: String) async throws {
        let memory = MemoryStore()
        let store = PrefixStore(memory, prefix: prefix == "/a/" ? "/a/b/" : prefix)
        _ = try await store.create("key", [1])
        #expect(memory.keys == [ObjectKey(outer)])
        #expect(try await store.list(prefix: "", after: nil, limit: 9).objects.map(\.key) == ["key"])
        #expect(try await store.head("key")?.key == "key")
        #expect(store.location == (outer == "key" ? "memory" : "memory/a/b"))
    }
}
