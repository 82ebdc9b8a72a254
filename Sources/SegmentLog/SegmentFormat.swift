import Codec
import StoreCore

/// The layout of a segment object.
///
///     offset     size
///          0       32  object header, kind segment                              plain
///         32             records, one after the other without gaps               one sealed frame each
///          i             index: what the records hold, in the volume's terms     one sealed frame
///     end-64       64  trailer: where the index is, hash of all before it       one sealed frame
///
/// A frame's byte position in the object is its nonce, so that a record opens with nothing but its place.
enum SegmentFormat {
    static let recordsPosition = ObjectHeader.byteCount
    /// A segment is larger than any fence, so that a LIST of the log tells which is which.
    static let objectBytesMin = Fence.objectBytesMax + 64
    /// Records and all together, as a reader accepts them.
    static let objectBytesMax = Limits.segmentObjectBytesMax
    /// The index is kept as it is below this: zstd would win nothing that is worth a decompression.
    static let indexBytesCompressedFrom = 1024

    /// The part of `objectBytesMax` that is left to records: an index of the greatest size must still fit behind them.
    static let recordsEndMax =
        objectBytesMax - SegmentTrailer.sealedBytes - indexPlaintextBytesMax - ObjectCipher.tagBytes
    /// An entry takes at most twelve bytes and a record five (`Limits.segmentEntriesMax`), plus some fixed fields.
    static let indexPlaintextBytesMax = 2 << 20

    static func rawBytes(_ blockCount: Int) -> Int { blockCount * blockBytes }
}
