import Codec
import ObjectStorage
import SegmentLog
import StoreCore
import Synchronization
import Testing

@Suite struct ReplayIsWholeOrNamesWhatIsMissing {
    private let start = LogCursor(
        position: LogPosition(epoch: Epoch(1), sequence: SegmentSequence(0)), hash: .zero, lastWrite: WriteSequence(0))

    private func replay(
        _ store: any ObjectStore, from cursor: LogCursor? = nil, _ ends: [(UInt64, UInt64)], prefetch: Int = 4
    ) async throws -> (seen: [SegmentID], end: LogCursor) {
        var seen: [SegmentID] = []
        let end = try await EpochLog.tail(
            of: Fixtures.volume, from: cursor ?? start,
            through: ends.map { EpochEnd(epoch: Epoch($0.0), end: SegmentSequence($0.1)) }, store: store,
            keys: Fixtures.keys, prefetch: prefetch
        ) { reference, _ in seen.append(reference.id) }
        return (seen, end)
    }
    private func expectCorrupt(_ store: any ObjectStore, _ ends: [(UInt64, UInt64)], naming id: SegmentID) async {
        let error = await #expect(throws: StorageError.self) { try await replay(store, ends) }
        #expect(error?.code == .corrupt)
        #expect(error?.message.contains(id.key.text) == true, "\(error?.message ?? "")")
    }

    @Test(arguments: [1, 2, 4, 100])
    func inOrderAcrossEpochs(prefetch: Int) async throws {
        let store = MemoryStore()
        let first = try Fixtures.chain(9)
        let third = try Fixtures.chain(4, epoch: 3, after: first[8].reference.contentHash, write: 50)
        try await store.put(first + third)
        // Later requests answer sooner.
        let slow = FaultStore(store) { request in
            try await Task.sleep(for: .milliseconds(max(0, 12 - request.number)))
            return nil
        }
        let (seen, end) = try await replay(slow, [(1, 9), (2, 0), (3, 4), (4, 0)], prefetch: prefetch)
        #expect(seen == (first + third).map(\.reference.id))
        #expect(end.position == LogPosition(epoch: Epoch(4), sequence: SegmentSequence(0)))
        #expect(end.hash == third[3].reference.contentHash)
        #expect(end.lastWrite == WriteSequence(53))
    }

    @Test func fromTheMiddle() async throws {
        let store = MemoryStore()
        let chain = try Fixtures.chain(9)
        try await store.put(Array(chain[4...]))
        let covered = LogCursor(
            position: LogPosition(epoch: Epoch(1), sequence: SegmentSequence(4)), hash: chain[3].reference.contentHash,
            lastWrite: WriteSequence(4))
        #expect(try await replay(store, from: covered, [(1, 9)]).seen == chain[4...].map(\.reference.id))
        #expect(try await replay(store, from: covered, [(1, 4)]).end == covered)
        let error = await #expect(throws: StorageError.self) { try await replay(store, from: covered, [(1, 3)]) }
        #expect(error?.code == .corrupt)
    }

    /// A tail may be many small segments, each of which is a request: 16 go out together, so that 150 take 10 round
    /// trips. None is answered here before those that belong to its round were sent.
    @Test(.timeLimit(.minutes(10))) func manySmallSegmentsInFewRoundTrips() async throws {
        let memory = MemoryStore()
        try await memory.put(try Fixtures.chain(150))
        let sent = Mutex(0)
        let store = FaultStore(memory) { request in
            sent.withLock { $0 += 1 }
            let round = min((request.number / 16 + 1) * 16, 150)
            while sent.withLock({ $0 }) < round { try await Task.sleep(for: .milliseconds(5)) }
            return nil
        }
        var count = 0
        _ = try await EpochLog.tail(
            of: Fixtures.volume, from: start, through: [EpochEnd(epoch: Epoch(1), end: SegmentSequence(150))],
            store: store, keys: Fixtures.keys
        ) { _, _ in count += 1 }
        #expect(count == 150)
    }

    @Test func aGap() async throws {
        let store = MemoryStore()
        try await store.put(try Fixtures.chain(6))
        try await store.delete([Fixtures.id(4).key])
        await expectCorrupt(store, [(1, 6)], naming: Fixtures.id(4))
    }
    @Test func aFenceWhereASegmentShouldBe() async throws {
        let store = MemoryStore()
        try await store.put(try Fixtures.chain(3))
        let fence = Fence(
            volume: Fixtures.volume, closing: Epoch(1), position: SegmentSequence(4), claimer: Epoch(2),
            time: Fixtures.time)
        _ = try await store.create(fence.key, try fence.sealed(keys: Fixtures.keys))
        await expectCorrupt(store, [(1, 4)], naming: Fixtures.id(4))
    }
    @Test func aSegmentOfAnotherPlace() async throws {
        let store = MemoryStore()
        let chain = try Fixtures.chain(3)
        try await store.put(Array(chain[..<2]))
        _ = try await store.create(Fixtures.id(3).key, chain[1].bytes)
        await expectCorrupt(store, [(1, 3)], naming: Fixtures.id(3))
    }
    @Test func aSegmentOfAnotherTimeline() async throws {
        let store = MemoryStore()
        let chain = try Fixtures.chain(3)
        try await store.put([chain[0], try Fixtures.segment(2, after: .zero, write: 2), chain[2]])
        await expectCorrupt(store, [(1, 3)], naming: Fixtures.id(2))
    }
    @Test func writesThatWereThereBefore() async throws {
        let store = MemoryStore()
        let first = try Fixtures.segment(1, write: 10)
        let second = try Fixtures.segment(2, after: first.reference.contentHash, write: 10)
        try await store.put([first, second])
        await expectCorrupt(store, [(1, 2)], naming: Fixtures.id(2))
    }
    @Test func objectsOfImpossibleSize() async throws {
        let chain = try Fixtures.chain(3)
        for count in [0, 100, Limits.segmentObjectBytesMax + 5] {
            let store = MemoryStore()
            try await store.put(Array(chain[..<2]))
            _ = try await store.create(Fixtures.id(3).key, [UInt8](repeating: 1, count: count))
            await expectCorrupt(store, [(1, 3)], naming: Fixtures.id(3))
        }
    }
    @Test func aFlippedBit() async throws {
        let store = MemoryStore()
        try await store.put(try Fixtures.chain(5))
        let faulty = FaultStore(store) { $0.keys == [Fixtures.id(3).key] ? .corrupt(atByte: 100) : nil }
        await expectCorrupt(faulty, [(1, 5)], naming: Fixtures.id(3))
    }
    @Test func anUnavailableStoreIsNotCorruption() async throws {
        let store = MemoryStore()
        try await store.put(try Fixtures.chain(5))
        let faulty = FaultStore(store) { $0.keys == [Fixtures.id(3).key] ? .failBefore() : nil }
        let error = await #expect(throws: StorageError.self) { try await replay(faulty, [(1, 5)]) }
        #expect(error?.code == .unavailable)
    }
}
