public import SegmentLog

/// Where the records of a segment went when it was repacked.
public struct Relocation: Hashable, Sendable {
    public struct Place: Hashable, Sendable {
        public var segment: SegmentReference
        public var record: RecordLocation
        /// Added to a block's offset in the old record, it gives the block's offset in the new one.
        public var blockOffsetDelta: Int
        public init(segment: SegmentReference, record: RecordLocation, blockOffsetDelta: Int = 0) {
            self.segment = segment
            self.record = record
            self.blockOffsetDelta = blockOffsetDelta
        }
    }
    /// By the record's position in the old segment; those that nothing needed any more are missing.
    public var places: [UInt32: Place]
    public init(_ places: [UInt32: Place]) { self.places = places }
}
