import Cache
import Codec
import ObjectStorage
import SegmentLog
import StoreCore
import Synchronization
import Testing

@Suite struct FetcherReadsWhatTheLogHolds {
    @Test func readsAcrossRecordsAndSegments() async throws {
        let fixture = Fixture()
        let one = try await fixture.segment(1)
        let two = try await fixture.segment(2, compressible: true)
        let fetcher = fixture.fetcher()
        #expect(try await fixture.read(fetcher, one, 3..<61) == one.expected(1, 3..<61))
        #expect(fixture.store.counts().rangedGet == 1)
        #expect(
            try await fixture.read(fetcher, two, 0..<64)
                == (0..<64).flatMap { Fixture.block(2, $0, compressible: true) })
        let gets = fixture.store.counts().rangedGet
        #expect(try await fixture.read(fetcher, one, 0..<64) == one.expected(1, 0..<64))
        #expect(fixture.store.counts().rangedGet == gets)
        #expect(fetcher.statistics.fromStore == 16)
    }

    @Test func equalMissesShareOneFetch() async throws {
        let fixture = Fixture()
        let segment = try await fixture.segment(1)
        let fetcher = fixture.fetcher()
        fixture.faults.arm { _ in
            try await Task.sleep(for: .milliseconds(50))
            return nil
        }
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for reader in 0..<100 as Range<UInt64> {
                let block = 8 + reader % 8
                group.addTask {
                    try await fixture.read(fetcher, segment, block..<block + 1)
                        == segment.expected(1, block..<block + 1)
                }
            }
            for try await isRight in group { #expect(isRight) }
        }
        #expect(fixture.store.counts().rangedGet == 1)
        #expect(fetcher.statistics.shared <= 99 && fetcher.statistics.fromStore == 1)
    }

    @Test func anErrorReachesAllWhoWaitAndTheNextReadTriesAgain() async throws {
        let fixture = Fixture()
        let segment = try await fixture.segment(1)
        let fetcher = fixture.fetcher()
        // Who came after the failure would fetch again: it waits until all have joined.
        fixture.faults.arm { _ in
            while fetcher.statistics.shared < 19 { try await Task.sleep(for: .milliseconds(1)) }
            return .failBefore()
        }
        let codes = await withTaskGroup(of: ErrorCode?.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    do {
                        _ = try await fixture.read(fetcher, segment, 0..<1)
                        return nil
                    } catch { return error.storageCode }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(codes == Array(repeating: .unavailable, count: 20))
        #expect(fixture.store.counts().rangedGet == 1)
        fixture.faults.disarm()
        #expect(try await fixture.read(fetcher, segment, 0..<1) == segment.expected(1, 0..<1))
    }

    @Test func aCancelledReaderDoesNotEndTheFetchForOthers() async throws {
        let fixture = Fixture()
        let segment = try await fixture.segment(1)
        let fetcher = fixture.fetcher()
        fixture.faults.arm { _ in
            try await Task.sleep(for: .milliseconds(50))
            return nil
        }
        let first = Task { try await fixture.read(fetcher, segment, 0..<1) }
        try await Task.sleep(for: .milliseconds(10))
        let second = Task { try await fixture.read(fetcher, segment, 0..<1) }
        first.cancel()
        #expect(try await second.value == segment.expected(1, 0..<1))
    }

    @Test func damageInTheStoreNamesObjectAndPosition() async throws {
        let fixture = Fixture()
        let segment = try await fixture.segment(1)
        let record = segment.index.records[2]
        #expect(fixture.memoryStore.corrupt(segment.reference.id.key, at: Int(record.position) + 5000))
        let fetcher = fixture.fetcher()
        let error = await #expect(throws: StorageError.self) { try await fixture.read(fetcher, segment, 16..<17) }
        #expect(error?.code == .corrupt)
        #expect(error?.message.contains(segment.reference.id.key.text) == true)
        #expect(error?.message.contains("at byte \(record.position)") == true)
        // Its neighbours in the same GET are fine.
        #expect(try await fixture.read(fetcher, segment, 8..<16) == segment.expected(1, 8..<16))
        // A cut object: the last records are missing, in whole or in part.
        #expect(fixture.memoryStore.truncate(segment.reference.id.key, to: Int(segment.index.records[7].position) + 10))
        for block in [56, 60] as [UInt64] {
            let cut = await #expect(throws: StorageError.self) {
                try await fixture.read(fetcher, segment, block..<block + 1)
            }
            #expect(cut?.code == .corrupt)
        }
        #expect(fixture.memoryStore.truncate(segment.reference.id.key, to: 100))
        let gone = await #expect(throws: StorageError.self) { try await fixture.read(fetcher, segment, 40..<41) }
        #expect(gone?.code == .corrupt)
    }

    @Test func prefetchedBlocksNeedNoGet() async throws {
        let fixture = Fixture()
        let segment = try await fixture.segment(1)
        let fetcher = fixture.fetcher()
        await fetcher.prefetch(fixture.wanted(segment, 0..<32))
        #expect(fetcher.statistics.prefetched == 4)
        var target = [UInt8](repeating: 0, count: 8 * blockBytes)
        #expect(
            target.withUnsafeMutableBytes { fetcher.memory.copyNow(fixture.location(segment, 16), blocks: 8, into: $0) }
        )
        #expect(target == segment.expected(1, 16..<24))
        #expect(fixture.store.counts().rangedGet == 1)
    }
}

@Suite struct RepackedSegmentsAreFound {
    /// Packs the records into a new segment, as the cleaner does, and removes the old one.
    private func repack(_ fixture: Fixture, _ old: SealedSegment, records: [Int], generation: UInt64 = 1) async throws
        -> SealedSegment
    {
        var packer = try PackedSegmentBuilder(generation: generation, keys: Fixture.keys)
        var places: [UInt32: RecordLocation] = [:]
        for number in records {
            let record = old.index.records[number]
            let frame = old.bytes[Int(record.position)..<Int(record.position + record.byteCount)]
            let payload = try SegmentReader.openStoredPayload(frame, record, of: old.reference, keys: Fixture.keys)
            places[record.position] = try packer.append(storedPayload: payload, blockCount: record.blockCount)
        }
        let packed = try packer.seal()
        _ = try await fixture.memoryStore.create(packed.reference.id.key, packed.bytes)
        fixture.relocations.withLock { known in
            known[old.reference] = Relocation(places.mapValues { .init(segment: packed.reference, record: $0) })
        }
        #expect(fixture.memoryStore.remove(old.reference.id.key))
        return packed
    }

    @Test func recordsAreReadFromTheirNewPlace() async throws {
        let fixture = Fixture()
        let old = try await fixture.segment(1)
        _ = try await repack(fixture, old, records: [1, 5, 6])
        let fetcher = fixture.fetcher(memory: RecordCache(bytes: 0))
        #expect(try await fixture.read(fetcher, old, 10..<14) == old.expected(1, 10..<14))
        #expect(try await fixture.read(fetcher, old, 40..<56) == old.expected(1, 40..<56))
        // Asked for once, and the missing object not again either.
        #expect(fixture.relocationLookups.withLock { $0 } == 1)
        #expect(fixture.store.counts().rangedGet == 3)
        // In memory under the place that the map still names.
        let caching = fixture.fetcher()
        _ = try await fixture.read(caching, old, 10..<14)
        var target = [UInt8](repeating: 0, count: blockBytes)
        #expect(
            target.withUnsafeMutableBytes { caching.memory.copyNow(fixture.location(old, 12), blocks: 1, into: $0) })
        #expect(target == old.expected(1, 12..<13))
    }

    @Test func movedTwice() async throws {
        let fixture = Fixture()
        let old = try await fixture.segment(1)
        let once = try await repack(fixture, old, records: [1, 2])
        _ = try await repack(fixture, once, records: [1], generation: 2)
        let fetcher = fixture.fetcher()
        #expect(try await fixture.read(fetcher, old, 16..<24) == old.expected(1, 16..<24))
        let error = await #expect(throws: StorageError.self) { try await fixture.read(fetcher, old, 8..<9) }
        #expect(error?.code == .notFound)
    }

    @Test func blocksThatMovedIntoAnotherRecordAreShifted() async throws {
        let fixture = Fixture()
        let old = try await fixture.segment(1)
        let new = try await fixture.segment(2, holding: 1, blocks: 32, recordBlocks: 32)
        // Blocks 8..<16 of the volume: record 1 of the old segment, offset 8 in the new one's only record.
        fixture.relocations.withLock { known in
            known[old.reference] = Relocation([
                old.index.records[1].position: .init(
                    segment: new.reference, record: new.index.records[0], blockOffsetDelta: 8)
            ])
        }
        #expect(fixture.memoryStore.remove(old.reference.id.key))
        let fetcher = fixture.fetcher()
        #expect(try await fixture.read(fetcher, old, 10..<16) == old.expected(1, 10..<16))
        #expect(try await fixture.read(fetcher, old, 8..<9) == old.expected(1, 8..<9))
    }

    @Test func whatNobodyKnowsIsNotFoundAndCirclesEnd() async throws {
        let fixture = Fixture()
        let old = try await fixture.segment(1)
        _ = fixture.memoryStore.remove(old.reference.id.key)
        let fetcher = fixture.fetcher()
        let error = await #expect(throws: StorageError.self) { try await fixture.read(fetcher, old, 0..<1) }
        #expect(error?.code == .notFound)
        let record = old.index.records[0]
        fixture.relocations.withLock { known in
            known[old.reference] = Relocation([record.position: .init(segment: old.reference, record: record)])
        }
        let circle = await #expect(throws: StorageError.self) { try await fixture.read(fetcher, old, 0..<1) }
        #expect(circle?.code == .corrupt)
    }
}
