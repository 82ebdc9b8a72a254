public import StoreCore

/// A range of the volume and what the segment says of it.
public struct SegmentEntry: Hashable, Sendable {
    public enum Content: Hashable, Sendable {
        /// Written as zeroes or discarded.
        case zero
        /// The range's first block is the record's block number `blockOffset`; the range does not leave the record.
        case data(RecordLocation, blockOffset: UInt8)
    }
    public var range: BlockRange
    public var content: Content
    public init(range: BlockRange, content: Content) {
        self.range = range
        self.content = content
    }
}

/// What a segment says of itself.
///
/// A log segment holds the effect of the writes `firstWrite...lastWrite` as one: a block written twice is in it once,
/// with what was written last. A packed segment belongs to no volume: it has records and nothing else.
public struct SegmentIndex: Hashable, Sendable {
    /// Content hash of the segment before, in the volume's log; with it the hashes make a chain. Zero where there is
    /// none.
    public var previousHash: Digest
    public var firstWrite: WriteSequence
    public var lastWrite: WriteSequence
    public var firstTime: Timestamp
    public var lastTime: Timestamp
    /// The volume's size when `lastWrite` was applied: a resize is part of the log, so that recovery cannot miss it.
    public var volumeBytes: UInt64
    /// Ascending by block, without overlaps. Entries may lie beyond `volumeBytes`: shrinking writes zeroes there.
    public var entries: [SegmentEntry]
    /// Every record, in the order in which they lie in the object, without gaps.
    public var records: [RecordLocation]

    public init(
        previousHash: Digest, firstWrite: WriteSequence, lastWrite: WriteSequence, firstTime: Timestamp,
        lastTime: Timestamp, volumeBytes: UInt64, entries: [SegmentEntry], records: [RecordLocation]
    ) {
        self.previousHash = previousHash
        self.firstWrite = firstWrite
        self.lastWrite = lastWrite
        self.firstTime = firstTime
        self.lastTime = lastTime
        self.volumeBytes = volumeBytes
        self.entries = entries
        self.records = records
    }

    /// The index of a packed segment.
    static func packed(_ records: [RecordLocation]) -> SegmentIndex {
        SegmentIndex(
            previousHash: .zero, firstWrite: WriteSequence(0), lastWrite: WriteSequence(0),
            firstTime: Timestamp(nanoseconds: 0), lastTime: Timestamp(nanoseconds: 0), volumeBytes: 0, entries: [],
            records: records)
    }

    /// The entries as the map takes them.
    public func extents(of segment: SegmentReference) -> [Extent] {
        entries.map { entry in
            switch entry.content {
            case .zero: Extent(range: entry.range, mapping: .zero)
            case .data(let record, let blockOffset):
                Extent(
                    range: entry.range,
                    mapping: .data(BlockLocation(segment: segment, record: record, blockOffset: blockOffset)))
            }
        }
    }
}
