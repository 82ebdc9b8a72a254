import Codec
public import SegmentLog
import StoreCore

/// A segment that a run refers to, and how much of it the run needs.
public struct SegmentUsage: Hashable, Sendable {
    public var segment: SegmentReference
    /// The bytes of the records that extents of the run name; of a record named in part, its share by blocks.
    public var liveBytes: UInt64
    public init(segment: SegmentReference, liveBytes: UInt64) {
        self.segment = segment
        self.liveBytes = liveBytes
    }
}

/// A page of a run's table of segments, ascending by name, so that tables merge with each other and with a LIST.
///
///     | kind 3 | segments n varint | first rank varint | n times: segment reference, live bytes varint |
final class SegmentPage: Sendable {
    let firstRank: Int
    let usages: [SegmentUsage]

    /// Memory held; references are shared between pages, so that each pays a part.
    var byteCount: Int { 64 + usages.count * 64 }

    func segment(rank: Int) -> SegmentReference? {
        let index = rank - firstRank
        return usages.indices.contains(index) ? usages[index].segment : nil
    }

    /// - Parameter intern: gives the reference that is shared by all who name this segment.
    init(
        decoding bytes: [UInt8], object: String, intern: ([SegmentReference]) -> [SegmentReference]
    ) throws(StorageError) {
        var reader = ByteReader(bytes, object: object)
        guard try reader.byte() == RunFormat.PageKind.segments.rawValue else {
            throw reader.corrupt("a page of segments is of another kind")
        }
        let count = try reader.count(bytesEach: ObjectHeader.byteCount + 32 + 6)
        let firstRank = try reader.varint()
        guard count > 0, firstRank <= UInt64(UInt32.max) else {
            throw reader.corrupt("a page of segments has wrong bounds")
        }
        self.firstRank = Int(firstRank)
        var segments: [SegmentReference] = []
        var live: [UInt64] = []
        for index in 0..<count {
            segments.append(try SegmentReference(decoding: &reader, object: object))
            live.append(try reader.varint())
            guard index == 0 || segments[index - 1].id < segments[index].id else {
                throw reader.corrupt("the segments of a table do not ascend")
            }
        }
        try reader.finish()
        usages = zip(intern(segments), live).map { SegmentUsage(segment: $0, liveBytes: $1) }
    }

    static func encode(_ usages: ArraySlice<SegmentUsage>, firstRank: Int) -> [UInt8] {
        var writer = ByteWriter(reserving: usages.count * 100 + 16)
        writer.byte(RunFormat.PageKind.segments.rawValue)
        writer.varint(UInt64(usages.count))
        writer.varint(UInt64(firstRank))
        for usage in usages {
            usage.segment.encode(into: &writer)
            writer.varint(usage.liveBytes)
        }
        return writer.finish()
    }
}
