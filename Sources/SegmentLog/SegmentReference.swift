public import Codec
public import StoreCore

/// All that a reader needs to fetch any record of a segment with one ranged GET, and to know it for the right one.
///
/// Immutable and shared by reference, so that an extent that names it stays small. Two references are equal when they
/// name the same object with the same contents.
public final class SegmentReference: Hashable, Sendable, CustomStringConvertible {
    public let id: SegmentID
    /// Algorithm, key id and salt: with the identity they give the object's key without a GET of its first bytes.
    public let header: ObjectHeader
    /// SHA-256 of all bytes before the trailer; it covers the hash of the segment before (a chain).
    public let contentHash: Digest
    /// The object's size in the store.
    public let byteCount: UInt32

    public init(id: SegmentID, header: ObjectHeader, contentHash: Digest, byteCount: UInt32) {
        self.id = id
        self.header = header
        self.contentHash = contentHash
        self.byteCount = byteCount
    }
    public static func == (a: SegmentReference, b: SegmentReference) -> Bool {
        a === b || (a.id == b.id && a.contentHash == b.contentHash)
    }
    public func hash(into hasher: inout Hasher) { hasher.combine(id) }
    public var description: String { id.description }

    public func encode(into writer: inout ByteWriter) {
        id.encode(into: &writer)
        writer.raw(header.bytes)
        writer.digest(contentHash)
        writer.littleEndian(byteCount)
    }
    public convenience init(decoding reader: inout ByteReader, object: String) throws(StorageError) {
        let id = try SegmentID(decoding: &reader)
        let header = try ObjectHeader(
            decoding: try reader.raw(ObjectHeader.byteCount), expecting: .segment, object: object)
        self.init(id: id, header: header, contentHash: try reader.digest(), byteCount: try reader.littleEndian())
    }
}

/// Where a record lies in its segment: a run of neighbouring blocks, compressed where that pays, sealed as one frame.
public struct RecordLocation: Hashable, Sendable {
    /// The frame's first byte within the object, which is its nonce as well.
    public var position: UInt32
    /// Bytes of the frame in the object, tag included. Raw when that is `blockCount * 4096 + tag`, else zstd.
    public var byteCount: UInt32
    /// Blocks that the record holds, 1...32.
    public var blockCount: UInt8
    public init(position: UInt32, byteCount: UInt32, blockCount: UInt8) {
        self.position = position
        self.byteCount = byteCount
        self.blockCount = blockCount
    }
}

/// Where one block lies; the blocks that follow it in the record come after it.
public struct BlockLocation: Hashable, Sendable {
    public var segment: SegmentReference
    public var record: RecordLocation
    /// Blocks from the record's beginning.
    public var blockOffset: UInt8
    public init(segment: SegmentReference, record: RecordLocation, blockOffset: UInt8) {
        self.segment = segment
        self.record = record
        self.blockOffset = blockOffset
    }
    public func advanced(by blocks: UInt64) -> Self {
        Self(segment: segment, record: record, blockOffset: blockOffset + UInt8(blocks))
    }
}

/// What a range of a volume holds.
public enum Mapping: Hashable, Sendable {
    /// Written as zeroes or discarded: it hides what lies below.
    case zero
    case data(BlockLocation)

    /// The mapping of the range's rest, after its first `blocks` blocks.
    public func advanced(by blocks: UInt64) -> Self {
        switch self {
        case .zero: .zero
        case .data(let location): .data(location.advanced(by: blocks))
        }
    }
}

/// A range of blocks and what it holds. A data extent never reaches beyond its record.
public struct Extent: Hashable, Sendable {
    public var range: BlockRange
    public var mapping: Mapping
    public init(range: BlockRange, mapping: Mapping) {
        self.range = range
        self.mapping = mapping
    }
    /// The part of this extent that lies in `range`; nil where there is none.
    public func clipped(to other: BlockRange) -> Extent? {
        let common = range.intersection(other)
        guard !common.isEmpty else { return nil }
        return Extent(range: common, mapping: mapping.advanced(by: common.first - range.first))
    }
}
