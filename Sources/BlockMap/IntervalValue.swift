public import SegmentLog

/// What an interval of blocks maps to.
public protocol IntervalValue: Sendable {
    /// The value for the interval's rest, after its first `blocks` blocks; `blocks` lies within the interval.
    func advanced(by blocks: UInt64) -> Self
}

extension Mapping: IntervalValue {}
