import Codec
import ObjectStorage
import SegmentLog
import StoreCore
import Synchronization
import Testing
import Uploader

@Suite struct ClosersAgree {
    private func log(_ store: any ObjectStore) -> EpochLog {
        EpochLog(of: Fixtures.volume, Epoch(1), store: store, keys: Fixtures.keys)
    }
    private func close(_ store: any ObjectStore, after: UInt64 = 0, by claimer: UInt64 = 2) async throws -> UInt64 {
        try await log(store).close(after: SegmentSequence(after), by: Epoch(claimer), time: SystemTime()).value
    }

    @Test func anEmptyLogEndsAtZeroForGood() async throws {
        let store = MemoryStore()
        #expect(try await close(store) == 0)
        #expect(try await close(store, by: 7) == 0)
        let first = try Fixtures.segment(1)
        #expect(try await store.create(first.reference.id.key, first.bytes) == .exists)
        #expect(try await log(store).contiguousTail(after: SegmentSequence(0)).fence?.claimer == Epoch(2))
    }

    @Test func closingAgainGivesTheSameEndFromAnyCoveredPosition() async throws {
        let store = MemoryStore()
        try await store.put(try Fixtures.chain(5))
        #expect(try await close(store) == 5)
        // What a stalled writer still had under way lands behind the fence and stays without effect.
        try await store.put([try Fixtures.segment(7), try Fixtures.segment(8)])
        for after in 0...5 { #expect(try await close(store, after: UInt64(after), by: 9) == 5) }
    }

    @Test func whatLiesBehindAGapIsNotPartOfTheLog() async throws {
        let store = MemoryStore()
        try await store.put(try Fixtures.chain(3))
        try await store.put([try Fixtures.segment(5), try Fixtures.segment(6)])
        let tail = try await log(store).contiguousTail(after: SegmentSequence(0))
        #expect(tail.end == SegmentSequence(3) && !tail.isClosed)
        #expect(try await close(store) == 3)
        let segment = try Fixtures.segment(4)
        #expect(try await store.create(segment.reference.id.key, segment.bytes) == .exists)
    }

    @Test func butASegmentThatIsMissingBeforeAFenceIsDamage() async throws {
        let store = MemoryStore()
        try await store.put(try Fixtures.chain(3))
        #expect(try await close(store) == 3)
        let lost = try Fixtures.segment(2).reference.id.key
        try await store.delete([lost])
        let error = await #expect(throws: StorageError.self) { try await close(store, by: 9) }
        #expect(error?.code == .corrupt && error?.message.contains(lost.text) ?? false)
        // Nobody gives the slot away, and who does not need the segment goes on.
        #expect(try await store.head(lost) == nil)
        #expect(try await close(store, after: 2, by: 9) == 3)
        // Who deletes the volume needs none of it, and shuts the slot.
        let log = log(store)
        let none = SegmentSequence(0)
        #expect(try await log.close(after: none, by: Epoch(9), isGivenUp: true, time: SystemTime()).value == 1)
        #expect(try await log.contiguousTail(after: SegmentSequence(0)).fence?.claimer == Epoch(9))
        try await store.delete([lost])
        // What is no fence proves nothing.
        try await store.delete([Fixtures.id(4).key])
        _ = try await store.create(Fixtures.id(4).key, [1, 2, 3])
        #expect(try await close(store, by: 9) == 1)
    }

    /// A LIST takes its time: slots that it has passed by are taken, and then the one that it comes to by a fence.
    @Test func aSlotThatWasTakenBehindTheListIsNotMissing() async throws {
        let store = MemoryStore()
        try await store.put(try Fixtures.chain(3))
        #expect(try await close(store) == 3)
        let torn = PassingBy(store, key: Fixtures.id(2).key)
        let tail = try await log(torn).contiguousTail(after: SegmentSequence(0))
        #expect(tail.end == SegmentSequence(3) && tail.isClosed)
    }

    @Test func requestsAreOneListAndOneCreation() async throws {
        let store = MemoryStore()
        try await store.put(try Fixtures.chain(5))
        let requests = Mutex<[RequestKind]>([])
        let traced = FaultStore(store) { request in
            requests.withLock { $0.append(request.kind) }
            return nil
        }
        _ = try await close(traced, after: 2)
        #expect(requests.withLock { $0 } == [.list, .create])
        requests.withLock { $0 = [] }
        _ = try await close(traced, after: 2)
        #expect(requests.withLock { $0 } == [.list, .get])
    }

    @Test func pagesOfAListAreReadToTheEnd() async throws {
        let store = MemoryStore()
        let segment = try Fixtures.segment(1)
        for sequence in 1...2100 { _ = try await store.create(Fixtures.id(UInt64(sequence)).key, segment.bytes) }
        #expect(try await close(store) == 2100)
    }

    @Test func aSegmentThatRacesInIsPartOfTheLog() async throws {
        let store = MemoryStore()
        let chain = try Fixtures.chain(4)
        try await store.put(Array(chain[..<2]))
        let raced = FaultStore(store) { request in
            // Segments 3 and 4 land between the closer's list and its creations.
            guard request.kind == .create, let sequence = request.keys.first else { return nil }
            for segment in chain[2...] where segment.reference.id.key == sequence {
                _ = try await store.create(sequence, segment.bytes)
            }
            return nil
        }
        #expect(try await close(raced) == 4)
        #expect(try await close(store) == 4)
    }

    @Test func anAmbiguousCreationOfTheFenceIsFoundAgain() async throws {
        let store = MemoryStore()
        try await store.put(try Fixtures.chain(2))
        let faulty = FaultStore(store) { $0.kind == .create ? .failAfter() : nil }
        let error = await #expect(throws: StorageError.self) { try await close(faulty) }
        #expect(error?.code == .unavailable)
        #expect(try await close(store) == 2)
    }

    @Test func garbageInTheFencesPlaceIsCorruption() async throws {
        let foreign = Fence(
            volume: Fixtures.volume, closing: Epoch(1), position: SegmentSequence(4), claimer: Epoch(2),
            time: Fixtures.time)
        for garbage in [[], [1, 2, 3], try foreign.sealed(keys: Fixtures.keys), [UInt8](repeating: 7, count: 1000)] {
            let store = MemoryStore()
            try await store.put(try Fixtures.chain(2))
            let late = FaultStore(store) { request in
                if request.kind == .create { _ = try await store.create(Fixtures.id(3).key, garbage) }
                return nil
            }
            let error = await #expect(throws: StorageError.self) { try await close(late) }
            #expect(error?.code == .corrupt, "\(garbage.count): \(error?.message ?? "")")
        }
    }

    @Test func onlyALaterEpochCloses() async {
        await #expect(throws: StorageError.self) { try await close(MemoryStore(), by: 1) }
    }
}

/// A store whose first LIST does not show one key.
private final class PassingBy: ObjectStore {
    private let base: MemoryStore
    private let key: ObjectKey
    private let isFirst = Mutex(true)
    var location: String { base.location }

    init(_ base: MemoryStore, key: ObjectKey) {
        self.base = base
        self.key = key
    }
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        var page = try await base.list(prefix: prefix, after: after, limit: limit)
        let isFirst = isFirst.withLock { first in
            defer { first = false }
            return first
        }
        if isFirst { page.objects.removeAll { $0.key == key } }
        return page
    }
    func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] { try await base.get(key, range: range) }
    func head(_ key: ObjectKey) async throws -> ObjectInfo? { try await base.head(key) }
    func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        try await base.create(key, bytes, sha256: sha256)
    }
    func delete(_ keys: [ObjectKey]) async throws { try await base.delete(keys) }
}

/// Rule R4 under races: rivals close while the writer appends with several uploads in flight.
@Suite struct StaleWriterNeverAcknowledges {
    @Test(arguments: 0..<40)
    func beyondTheEndThatAllClosersFind(seed: UInt64) async throws {
        let memory = MemoryStore()
        let random = Mutex(SplitMix64(seed: seed))
        let store = FaultStore(memory) { request in
            let (delay, draw) = random.withLock { random in
                (Int.random(in: 0...3, using: &random), Int.random(in: 0..<10, using: &random))
            }
            try await Task.sleep(for: .milliseconds(delay))
            guard request.kind == .create else { return nil }
            return draw == 0 ? .failBefore() : draw == 1 ? .failAfter() : draw == 2 ? .failThenHappen() : nil
        }
        let chain = try Fixtures.chain(60)
        let policy = RetryPolicy(delayFirst: .milliseconds(1), delayMax: .milliseconds(4))
        let uploader = Uploader(
            store: store, slots: UploadSlots(inFlightMax: 4), time: SystemTime(), policy: policy, seed: seed)
        for segment in chain {
            _ = uploader.submit(key: segment.reference.id.key, bytes: segment.bytes, sha256: segment.objectHash)
        }
        let retrying = RetryingStore(store, policy: policy, time: SystemTime(), seed: seed)
        let ends = try await withThrowingTaskGroup(of: SegmentSequence.self) { group in
            for rival in 0..<5 {
                group.addTask {
                    try await Task.sleep(for: .milliseconds(Int(seed / 2) + rival))
                    return try await EpochLog.close(
                        Epoch(1), after: SegmentSequence(0), by: Epoch(UInt64(2 + rival)), volume: Fixtures.volume,
                        store: retrying, keys: Fixtures.keys, time: SystemTime())
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        let end = try #require(ends.first)
        #expect(Set(ends).count == 1)
        if end.value < 60 {
            let error = await #expect(throws: StorageError.self) { try await uploader.waitUntilDurable(60) }
            #expect(error?.code == .fenced)
        } else {
            try await uploader.waitUntilDurable(60)
        }
        // A paused request that arrives after all changes nothing.
        await store.releaseLate()
        await uploader.stop()
        #expect(uploader.frontier <= end.value)
        let replayed = try await EpochLog.tail(
            of: Fixtures.volume,
            from: LogCursor(
                position: LogPosition(epoch: Epoch(1), sequence: SegmentSequence(0)), hash: .zero,
                lastWrite: WriteSequence(0)),
            through: [EpochEnd(epoch: Epoch(1), end: end)], store: memory, keys: Fixtures.keys
        ) { _, _ in }
        #expect(replayed.lastWrite.value == end.value)
    }

    /// The writer sleeps through the change of owners and goes on as if nothing had happened.
    @Test func afterAPause() async throws {
        let store = MemoryStore()
        let chain = try Fixtures.chain(6)
        let uploader = Uploader(store: store, slots: UploadSlots(inFlightMax: 4), time: SystemTime())
        for segment in chain[..<3] {
            _ = uploader.submit(key: segment.reference.id.key, bytes: segment.bytes, sha256: segment.objectHash)
        }
        try await uploader.waitUntilDurable(3)
        let end = try await EpochLog.close(
            Epoch(1), after: SegmentSequence(1), by: Epoch(2), volume: Fixtures.volume, store: store,
            keys: Fixtures.keys, time: SystemTime())
        #expect(end.value == 3)
        for segment in chain[3...] {
            _ = uploader.submit(key: segment.reference.id.key, bytes: segment.bytes, sha256: segment.objectHash)
        }
        for number in 4...6 {
            let error = await #expect(throws: StorageError.self) { try await uploader.waitUntilDurable(UInt64(number)) }
            #expect(error?.code == .fenced)
        }
        #expect(uploader.frontier == 3)
    }
}
