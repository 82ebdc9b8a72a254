import SegmentLog
import StoreCore

/// Names a record by its segment's contents and its place in it. Both never change, so that nothing cached is ever
/// stale, and branches share what they share.
struct RecordKey: Hashable, Sendable {
    /// The lower half of the segment's content hash: SHA-256, so that no two segments share it.
    let segment: UInt128
    let position: UInt32

    init(segment: UInt128, position: UInt32) {
        self.segment = segment
        self.position = position
    }
    init(_ segment: SegmentReference, _ record: RecordLocation) {
        self.init(segment: segment.contentHash.low, position: record.position)
    }

    /// The same in every process. Two records that share it by accident cost a miss: a frame opens only in its place.
    var fingerprint: UInt64 {
        UInt64(truncatingIfNeeded: segment) &+ UInt64(position) &* 0x9e37_79b9_7f4a_7c15
    }
    func hash(into hasher: inout Hasher) { hasher.combine(fingerprint) }
}
