import SegmentLog
import StoreCore

/// A page of extents, ascending and apart, held as packed columns: any extent is read in O(1), none is materialised.
///
///     | kind 1 | extents n varint | data extents m varint | first block varint |
///     | gap before: n | blocks - 1: n | position: m | bytes: m | record's blocks - 1: m | offset in record: m |
///     | segment: n |
///
/// Gap: blocks between the extent before and this one, 0 for the first. Segment: 0 for zeroes, else 1 + its rank in the
/// run's table. The four columns of m have no values for zeroes. Position: signed (zigzag) distance from the end of the
/// data extent before, where both lie in one segment, else the position itself, as signed.
///
/// In memory, gaps have become blocks from the page's first one, and every column has n values.
final class ExtentPage: Sendable {
    let count: Int
    private let base: UInt64
    private let firsts: PackedColumn
    private let blocks: PackedColumn
    private let segments: PackedColumn
    private let positions: PackedColumn
    private let byteCounts: PackedColumn
    private let recordBlocks: PackedColumn
    private let offsets: PackedColumn

    func range(at index: Int) -> BlockRange {
        BlockRange(first: BlockIndex(base + firsts[index]), count: blocks[index] + 1)
    }
    /// The rank in the run's table; nil for zeroes.
    func segmentRank(at index: Int) -> Int? {
        let segment = segments[index]
        return segment == 0 ? nil : Int(segment - 1)
    }
    /// Of a data extent.
    func location(at index: Int, in segment: SegmentReference) -> BlockLocation {
        let record = RecordLocation(
            position: UInt32(positions[index]), byteCount: UInt32(byteCounts[index]),
            blockCount: UInt8(recordBlocks[index] + 1))
        return BlockLocation(segment: segment, record: record, blockOffset: UInt8(offsets[index]))
    }
    /// What a data extent counts for in its segment's live bytes.
    func liveBytes(at index: Int) -> UInt64 {
        Self.liveBytes(of: byteCounts[index], recordBlocks: recordBlocks[index] + 1, blocks: blocks[index] + 1)
    }
    /// The share of a record that an extent names, rounded up.
    static func liveBytes(of recordBytes: UInt64, recordBlocks: UInt64, blocks: UInt64) -> UInt64 {
        (recordBytes * blocks + recordBlocks - 1) / recordBlocks
    }
    /// The first extent that reaches beyond `block`; `count` where there is none.
    func firstIndex(endingAfter block: BlockIndex) -> Int {
        guard block.value >= base, let index = firsts.lastIndex(notAbove: block.value - base) else { return 0 }
        return range(at: index).end > block ? index : index + 1
    }
    /// Memory held.
    var byteCount: Int {
        [firsts, blocks, segments, positions, byteCounts, recordBlocks, offsets].reduce(64) { $0 + $1.byteCount }
    }

    init(decoding bytes: [UInt8], object: String) throws(StorageError) {
        var reader = ByteReader(bytes, object: object)
        guard try reader.byte() == RunFormat.PageKind.extents.rawValue else {
            throw reader.corrupt("a page of extents is of another kind")
        }
        let count = Int(clamping: try reader.varint())
        let dataCount = Int(clamping: try reader.varint())
        guard (1...RunFormat.pageExtentsMax).contains(count), dataCount <= count else {
            throw reader.corrupt("a page claims \(dataCount) of \(count) extents")
        }
        base = try reader.varint()
        let gaps = try PackedColumn(decoding: &reader, count: count)
        blocks = try PackedColumn(decoding: &reader, count: count)
        let distances = try PackedColumn(decoding: &reader, count: dataCount)
        let sizes = try PackedColumn(decoding: &reader, count: dataCount)
        let recordBlocks = try PackedColumn(decoding: &reader, count: dataCount)
        let offsets = try PackedColumn(decoding: &reader, count: dataCount)
        segments = try PackedColumn(decoding: &reader, count: count)
        try reader.finish()
        self.count = count
        firsts = PackedColumn(try Self.firsts(base, gaps, blocks, reader))

        var rows = DataRows(count: count)
        var next = 0
        for index in 0..<count where segments[index] > 0 {
            guard next < dataCount else { throw reader.corrupt("a page has more data extents than it says") }
            guard segments[index] <= UInt64(UInt32.max) else {
                throw reader.corrupt("an extent names a segment that no table holds")
            }
            try rows.put(
                at: index, distance: distances[next], segment: segments[index], byteCount: sizes[next],
                recordBlocks: recordBlocks[next], offset: offsets[next], blocks: blocks[index], reader)
            next += 1
        }
        guard next == dataCount else { throw reader.corrupt("a page has fewer data extents than it says") }
        positions = PackedColumn(rows.positions)
        // Without zeroes among them the columns as read have a value for each extent already.
        byteCounts = dataCount == count ? sizes : PackedColumn(rows.spread(sizes, by: segments))
        self.recordBlocks = dataCount == count ? recordBlocks : PackedColumn(rows.spread(recordBlocks, by: segments))
        self.offsets = dataCount == count ? offsets : PackedColumn(rows.spread(offsets, by: segments))
    }

    /// Blocks from `base`, from the gaps; refuses what leaves the largest volume.
    private static func firsts(_ base: UInt64, _ gaps: PackedColumn, _ blocks: PackedColumn, _ reader: ByteReader)
        throws(StorageError) -> [UInt64]
    {
        var firsts: [UInt64] = []
        firsts.reserveCapacity(gaps.count)
        var end: UInt64 = 0
        guard base <= RunFormat.blocksMax, gaps[0] == 0 else {
            throw reader.corrupt("a page begins outside of its volume")
        }
        for index in 0..<gaps.count {
            let gap = gaps[index]
            let more = blocks[index]
            guard gap <= RunFormat.blocksMax, more < RunFormat.blocksMax else {
                throw reader.corrupt("an extent lies outside of its volume")
            }
            firsts.append(end + gap)
            end += gap + more + 1
            guard base + end <= RunFormat.blocksMax else {
                throw reader.corrupt("an extent lies outside of its volume")
            }
        }
        return firsts
    }
}

/// Turns the columns of data extents into ones for all extents, and checks each row.
private struct DataRows {
    var positions: [UInt64]
    private var segment: UInt64 = 0
    private var end: UInt64 = 0

    init(count: Int) { positions = [UInt64](repeating: 0, count: count) }

    mutating func put(
        at index: Int, distance: UInt64, segment: UInt64, byteCount: UInt64, recordBlocks: UInt64, offset: UInt64,
        blocks: UInt64, _ reader: ByteReader
    ) throws(StorageError) {
        let signed = Int64(bitPattern: distance >> 1) ^ -Int64(bitPattern: distance & 1)
        let origin = segment == self.segment ? Int64(end) : 0
        let (position, overflow) = origin.addingReportingOverflow(signed)
        guard !overflow, position >= 0, byteCount <= UInt64(UInt32.max),
            position <= Int64(UInt32.max) - Int64(byteCount)
        else { throw reader.corrupt("a record lies outside of its segment") }
        guard recordBlocks < UInt64(Limits.recordBlocksMax), blocks <= recordBlocks, offset <= recordBlocks - blocks
        else {
            throw reader.corrupt("an extent reaches beyond its record")
        }
        positions[index] = UInt64(position)
        (self.segment, end) = (segment, UInt64(position) + byteCount)
    }

    func spread(_ column: PackedColumn, by segments: PackedColumn) -> [UInt64] {
        var next = 0
        return (0..<segments.count).map { index in
            // Between data, zeroes take the minimum, so that they cost no width.
            guard segments[index] > 0 else { return column.minimum }
            defer { next += 1 }
            return column[next]
        }
    }
}
