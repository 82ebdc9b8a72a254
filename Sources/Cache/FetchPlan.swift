public import SegmentLog
import StoreCore

/// Which ranged GETs bring a set of records: neighbours of one segment share a GET where the gap between them is
/// cheaper than another request. A value: made without any effect.
public struct FetchPlan: Hashable, Sendable {
    public struct Get: Hashable, Sendable {
        public var segment: SegmentReference
        /// Bytes of the object.
        public var range: Range<UInt64>
        /// Indexes into the records that were asked for, by position.
        public var members: [Int]
    }
    public var gets: [Get] = []

    /// - Parameter records: each at most once.
    public init(_ records: [(segment: SegmentReference, record: RecordLocation)], limits: FetchLimits) {
        let order = records.indices.sorted { a, b in
            let (x, y) = (records[a], records[b])
            if x.segment == y.segment { return x.record.position < y.record.position }
            return x.segment.id < y.segment.id
        }
        for index in order {
            let (segment, record) = records[index]
            let start = UInt64(record.position)
            let end = start + UInt64(record.byteCount)
            if let last = gets.last, last.segment == segment, start >= last.range.upperBound,
                start - last.range.upperBound <= UInt64(limits.gapBytesMax),
                end - last.range.lowerBound <= UInt64(limits.getBytesMax)
            {
                gets[gets.count - 1].range = last.range.lowerBound..<end
                gets[gets.count - 1].members.append(index)
            } else {
                gets.append(Get(segment: segment, range: start..<end, members: [index]))
            }
        }
    }
}

/// What bounds a fetcher.
public struct FetchLimits: Hashable, Sendable {
    /// The largest gap that a GET reads over. At 64 KiB it costs less time than another round trip.
    public var gapBytesMax: Int
    /// The largest GET, but for a single record.
    public var getBytesMax: Int
    /// GETs in flight for readers; the same number again may be for prefetching.
    public var getsInFlightMax: Int
    /// Repacked segments whose relocation is remembered.
    public var relocationsMax: Int

    public init(
        gapBytesMax: Int = 64 << 10, getBytesMax: Int = 8 << 20, getsInFlightMax: Int = 64, relocationsMax: Int = 64
    ) {
        self.gapBytesMax = gapBytesMax
        self.getBytesMax = getBytesMax
        self.getsInFlightMax = getsInFlightMax
        self.relocationsMax = relocationsMax
    }
}
