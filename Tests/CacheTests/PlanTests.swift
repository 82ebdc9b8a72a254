import Cache
import SegmentLog
import StoreCore
import Testing

@Suite struct NeighboursShareAGet {
    @Test func joinsNeighboursWithinGapAndSize() async throws {
        let fixture = Fixture()
        let one = try await fixture.segment(1, blocks: 1024, recordBlocks: 8)
        let two = try await fixture.segment(2, blocks: 64)
        func record(_ segment: SealedSegment, _ number: Int) -> (segment: SegmentReference, record: RecordLocation) {
            (segment.reference, segment.index.records[number])
        }
        let limits = FetchLimits(gapBytesMax: 64 << 10, getBytesMax: 1 << 20)
        // Out of order, over a gap of one record (32 KiB), not over one of three.
        let plan = FetchPlan(
            [record(one, 7), record(one, 1), record(two, 0), record(one, 3), record(one, 2)], limits: limits)
        #expect(plan.gets.map(\.members) == [[1, 4, 3], [0], [2]])
        let first = one.index.records[1]
        let last = one.index.records[3]
        #expect(plan.gets[0].range == UInt64(first.position)..<UInt64(last.position + last.byteCount))
        let bridged = FetchPlan([record(one, 1), record(one, 3)], limits: limits)
        #expect(bridged.gets.count == 1)
        // Never larger than allowed.
        let all = FetchPlan(one.index.records.indices.map { record(one, $0) }, limits: limits)
        #expect(all.gets.count == 5 && all.gets.allSatisfy { $0.range.count <= 1 << 20 })
        #expect(all.gets.flatMap(\.members).sorted() == Array(one.index.records.indices))
        #expect(FetchPlan([], limits: limits).gets.isEmpty)
    }
}
