public import StoreCore

/// A segment that is complete and will never change: ready to be stored under `reference.id.key`.
public struct SealedSegment: Sendable {
    public let reference: SegmentReference
    public let index: SegmentIndex
    /// The whole object. Sent again on every retry, bit for bit.
    public let bytes: [UInt8]
    /// SHA-256 of the whole object, for the store to check the upload by.
    public let objectHash: Digest

    /// What the segment says of the volume, ascending by block.
    public var extents: [Extent] { index.extents(of: reference) }
}
