import SegmentLog
import StoreCore

/// Collects the extents of one page and knows, at each, how large the page has become.
struct ExtentPageEncoder {
    private var base: UInt64 = 0
    private var end: UInt64 = 0
    private var lastSegment: UInt64 = 0
    private var lastRecordEnd: Int64 = 0
    private var gaps = Column(), blocks = Column(), segments = Column()
    private var distances = Column(), byteCounts = Column(), recordBlocks = Column(), offsets = Column()

    var count: Int { gaps.values.count }
    var isEmpty: Bool { count == 0 }
    var firstBlock: UInt64 { base }
    /// Bytes before compression.
    var byteCount: Int {
        let all = gaps.width + blocks.width + segments.width
        let data = distances.width + byteCounts.width + recordBlocks.width + offsets.width
        return 64 + (all * count + data * distances.values.count) / 8
    }

    /// - Parameter segment: 0 for zeroes, else 1 + the segment's number in order of appearance.
    mutating func append(_ extent: Extent, segment: UInt64) {
        if isEmpty { (base, end) = (extent.range.first.value, extent.range.first.value) }
        gaps.append(extent.range.first.value - end)
        blocks.append(extent.range.count - 1)
        segments.append(segment)
        end = extent.range.end.value
        guard case .data(let location) = extent.mapping else { return }
        let position = Int64(location.record.position)
        let distance = segment == lastSegment ? position - lastRecordEnd : position
        distances.append(UInt64(bitPattern: (distance << 1) ^ (distance >> 63)))
        byteCounts.append(UInt64(location.record.byteCount))
        recordBlocks.append(UInt64(location.record.blockCount) - 1)
        offsets.append(UInt64(location.blockOffset))
        (lastSegment, lastRecordEnd) = (segment, position + Int64(location.record.byteCount))
    }

    /// The page but for its segments, whose ranks are known only once all of the run's are.
    func finish() -> StagedExtentPage {
        var writer = ByteWriter(reserving: byteCount)
        writer.byte(RunFormat.PageKind.extents.rawValue)
        writer.varint(UInt64(count))
        writer.varint(UInt64(distances.values.count))
        writer.varint(base)
        for column in [gaps, blocks, distances, byteCounts, recordBlocks, offsets] {
            PackedColumn(column.values).encode(into: &writer)
        }
        return StagedExtentPage(firstBlock: base, body: writer.finish(), segments: PackedColumn(segments.values))
    }

    /// Values with their bounds, from which their packed width follows.
    private struct Column {
        var values: [UInt64] = []
        private var least: UInt64 = .max
        private var greatest: UInt64 = 0
        var width: Int { values.isEmpty ? 0 : 64 - (greatest - least).leadingZeroBitCount }
        mutating func append(_ value: UInt64) {
            values.append(value)
            least = min(least, value)
            greatest = max(greatest, value)
        }
    }
}

/// An encoded page that waits for the ranks of its segments.
struct StagedExtentPage {
    let firstBlock: UInt64
    let body: [UInt8]
    /// 0 for zeroes, else 1 + the segment's number in order of appearance.
    let segments: PackedColumn

    var byteCount: Int { body.count + segments.byteCount }

    /// - Parameter ranks: of the segments, by their number in order of appearance.
    func encoded(ranks: [Int]) -> [UInt8] {
        var writer = ByteWriter(reserving: byteCount + 16)
        writer.raw(body)
        let ranked = segments.values.map { $0 == 0 ? 0 : UInt64(ranks[Int($0 - 1)]) + 1 }
        PackedColumn(ranked).encode(into: &writer)
        return writer.finish()
    }
}
