import SegmentLog
import StoreCore
import Testing

@testable import Cache

@Suite struct MemoryTierKeepsWhatIsUsed {
    private func key(_ number: UInt64) -> RecordKey {
        RecordKey(segment: UInt128(number) &* 0x1234_5678_9abc_def1_0fed_cba9_8765_4321, position: 32)
    }

    @Test func scanDoesNotEvictTheHotSet() {
        var cache = S3FIFO<UInt64>(weightMax: 1000, ghostsMax: 1000)
        for _ in 0..<3 {
            for hot in 0..<500 as Range<UInt64> {
                if cache.find(key(hot), reading: 1) == nil { _ = cache.insert(key(hot), hot, weight: 1, reading: 1) }
            }
        }
        for cold in 10_000..<110_000 as Range<UInt64> {
            _ = cache.insert(key(cold), cold, weight: 1, reading: 1)
            // The hot ones are used now and then, far less often than the scan goes on.
            let hot = cold % 5000
            if hot < 500 { _ = cache.find(key(hot), reading: 1) }
        }
        let kept = (0..<500 as Range<UInt64>).count { cache.find(key($0), reading: 1) == $0 }
        #expect(kept >= 490)
        #expect(cache.weight <= 1000 && cache.count <= 1000)
    }

    @Test func readingARecordsBlocksOneByOneIsOneUse() {
        var cache = S3FIFO<UInt64>(weightMax: 100, ghostsMax: 100)
        for record in 0..<100 as Range<UInt64> {
            _ = cache.insert(key(record), record, weight: 1, reading: 1)
            for block in 1..<8 { _ = cache.find(key(record), reading: 1 << UInt32(block)) }
        }
        for record in 100..<150 as Range<UInt64> {
            _ = cache.insert(key(record), record, weight: 1, reading: 1)
        }
        // Nothing counted as used: strictly first in, first out.
        #expect((0..<50 as Range<UInt64>).allSatisfy { cache.find(key($0), reading: 0) == nil })
        #expect((50..<150 as Range<UInt64>).allSatisfy { cache.find(key($0), reading: 0) == $0 })
    }

    @Test func whatComesBackSoonEntersTheMainQueue() {
        var cache = S3FIFO<UInt64>(weightMax: 100, ghostsMax: 100)
        for record in 0..<101 as Range<UInt64> { _ = cache.insert(key(record), record, weight: 1, reading: 1) }
        #expect(cache.find(key(0), reading: 0) == nil)
        _ = cache.insert(key(0), 0, weight: 1, reading: 1)
        for record in 200..<290 as Range<UInt64> { _ = cache.insert(key(record), record, weight: 1, reading: 1) }
        #expect(cache.find(key(0), reading: 0) == 0)
    }

    @Test func weightsAreBoundedAndReplacementCounts() {
        var random = SplitMix64(seed: 7)
        var cache = S3FIFO<UInt64>(weightMax: 10_000, ghostsMax: 50)
        for _ in 0..<20_000 {
            let number = UInt64.random(in: 0..<400, using: &random)
            if cache.find(key(number), reading: 1) == nil {
                _ = cache.insert(key(number), number, weight: Int.random(in: 1...600, using: &random), reading: 1)
            }
            #expect(cache.weight <= 10_000)
        }
        #expect(cache.insert(key(9999), 1, weight: 10_001, reading: 0).isEmpty)
        #expect(cache.find(key(9999), reading: 0) == nil)
    }

    @Test func copiesWhatItHasAndNothingElse() async throws {
        let fixture = Fixture()
        let segment = try await fixture.segment(1)
        let cache = RecordCache(bytes: 1 << 20)
        let location = fixture.location(segment, 10)
        var target = [UInt8](repeating: 0, count: 2 * blockBytes)
        #expect(!target.withUnsafeMutableBytes { cache.copyNow(location, blocks: 2, into: $0) })
        cache.insert(segment.reference, location.record, segment.expected(1, 8..<16))
        #expect(target.withUnsafeMutableBytes { cache.copyNow(location, blocks: 2, into: $0) })
        #expect(target == segment.expected(1, 10..<12))
        // Beyond what is held.
        #expect(!target.withUnsafeMutableBytes { cache.copyNow(fixture.location(segment, 15), blocks: 2, into: $0) })
        #expect(cache.statistics.hits == 1 && cache.statistics.misses == 2 && cache.statistics.records == 1)
        let none = RecordCache(bytes: 0)
        none.insert(segment.reference, location.record, segment.expected(1, 8..<16))
        #expect(none.statistics.records == 0)
    }
}

@Suite struct ReadAheadFollowsStreams {
    private func range(_ first: UInt64, _ count: UInt64 = 8) -> BlockRange {
        BlockRange(first: BlockIndex(first), count: count)
    }

    @Test func sequentialReadsGrowTheWindow() {
        var ahead = ReadAhead()
        var fetched: [BlockRange] = []
        for read in 0..<2000 as Range<UInt64> {
            if let next = ahead.observe(range(100 + read * 8)) { fetched.append(next) }
        }
        #expect(fetched[0] == BlockRange(first: BlockIndex(116), count: 32))
        // Gapless, and never far ahead.
        for (a, b) in zip(fetched, fetched.dropFirst()) { #expect(a.end == b.first) }
        #expect(fetched.allSatisfy { $0.count <= ReadAhead.windowBlocksMax })
        #expect(fetched.count < 50)
        #expect(fetched.last!.end.value >= 100 + 2000 * 8)
    }
    @Test func randomReadsFetchNothing() {
        var ahead = ReadAhead()
        var random = SplitMix64(seed: 1)
        let fetched = (0..<2000).compactMap { _ in ahead.observe(range(.random(in: 0..<1 << 28, using: &random) * 8)) }
        #expect(fetched.isEmpty)
    }
    @Test func interleavedAndSlightlyDisorderedStreamsAreFollowed() {
        var ahead = ReadAhead()
        var counts = [0, 0, 0]
        for read in 0..<400 as Range<UInt64> {
            let swapped = read ^ 1
            for (stream, base) in [0, 1_000_000, 2_000_000].enumerated()
            where ahead.observe(range(UInt64(base) + swapped * 8)) != nil {
                counts[stream] += 1
            }
        }
        #expect(counts.allSatisfy { $0 >= 3 })
    }
    @Test func nothingBeyondTheEnd() {
        var ahead = ReadAhead()
        for read in 0..<20 as Range<UInt64> {
            if let next = ahead.observe(range(read * 8), end: BlockIndex(160)) { #expect(next.end <= BlockIndex(160)) }
        }
    }
}
