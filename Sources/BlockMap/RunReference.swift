public import Codec
public import ObjectStorage
public import StoreCore

/// Names a run for ever, with all that one GET of any of its pages needs. Two are equal when they name the same bytes.
///
/// It carries its own volume, since the layout of a branch lists runs that its ancestors wrote.
public struct RunReference: Hashable, Sendable, CustomStringConvertible {
    public var volume: VolumeID
    /// The writer's, so that gc knows when an unnamed run can no longer come into use.
    public var epoch: Epoch
    /// SHA-256 of the object's bytes: its name.
    public var contentHash: Digest
    public var byteCount: UInt64
    public var extentCount: UInt64
    /// Entries of the table of segments.
    public var segmentCount: UInt32
    /// From the first extent's first block to the last one's end.
    public var range: BlockRange
    /// Algorithm, key id and salt: the object's key without a GET of its first bytes.
    public var header: ObjectHeader
    public var extents: PageTree
    public var segments: PageTree

    public var key: ObjectKey { ObjectKey("\(identity)/\(contentHash)") }
    var identity: String { RunFormat.identity(volume, epoch) }
    public var description: String { key.text }

    public static func == (a: Self, b: Self) -> Bool {
        a.contentHash == b.contentHash && a.volume == b.volume && a.epoch == b.epoch
    }
    /// 64 bits of the content hash are as good as all of it.
    public func hash(into hasher: inout Hasher) { hasher.combine(UInt64(truncatingIfNeeded: contentHash.low)) }

    public func encode(into writer: inout ByteWriter) {
        writer.identifier(volume.bits)
        writer.varint(epoch.value)
        writer.digest(contentHash)
        writer.varint(byteCount)
        writer.varint(extentCount)
        writer.littleEndian(segmentCount)
        writer.varint(range.first.value)
        writer.varint(range.count)
        writer.raw(header.bytes)
        extents.encode(into: &writer)
        segments.encode(into: &writer)
    }
    /// - Parameter object: the manifest or version that names the run, for the error's text.
    public init(decoding reader: inout ByteReader, object: String) throws(StorageError) {
        volume = VolumeID(try reader.identifier())
        epoch = Epoch(try reader.varint())
        contentHash = try reader.digest()
        byteCount = try reader.varint()
        extentCount = try reader.varint()
        segmentCount = try reader.littleEndian()
        range = try RunFormat.range(first: try reader.varint(), count: try reader.varint(), reader)
        guard byteCount <= RunFormat.objectBytesMax else { throw reader.corrupt("a run of \(byteCount) bytes") }
        header = try ObjectHeader(decoding: try reader.raw(ObjectHeader.byteCount), expecting: .run, object: object)
        extents = try PageTree(decoding: &reader, objectBytes: byteCount)
        segments = try PageTree(decoding: &reader, objectBytes: byteCount)
        guard !extents.isEmpty, segments.isEmpty == (segmentCount == 0) else {
            throw reader.corrupt("a run lacks a page tree")
        }
    }

    init(
        volume: VolumeID, epoch: Epoch, contentHash: Digest, byteCount: UInt64, header: ObjectHeader,
        contents: RunContents
    ) {
        self.volume = volume
        self.epoch = epoch
        self.contentHash = contentHash
        self.byteCount = byteCount
        self.header = header
        extentCount = contents.extentCount
        segmentCount = contents.segmentCount
        range = contents.range
        extents = contents.extents
        segments = contents.segments
    }
    var contents: RunContents {
        RunContents(
            extentCount: extentCount, range: range, extents: extents, segmentCount: segmentCount, segments: segments)
    }
}

/// What a run says of itself in its trailer, its last frame, at a fixed distance from its end:
///
///     offset size
///          0    1  page kind 5
///          1    8  extents
///          9    8  first block covered
///         17    8  blocks covered
///         25   13  root of the extents: position 8, bytes 4, height 1
///         38    4  segments
///         42   13  root of the segment table
///
/// All that a reference holds can be had from it: a lost reference is not a lost run.
struct RunContents: Hashable, Sendable {
    var extentCount: UInt64
    var range: BlockRange
    var extents: PageTree
    var segmentCount: UInt32
    var segments: PageTree

    var bytes: [UInt8] {
        var writer = ByteWriter(reserving: RunFormat.trailerBytes)
        writer.byte(RunFormat.PageKind.trailer.rawValue)
        writer.littleEndian(extentCount)
        writer.littleEndian(range.first.value)
        writer.littleEndian(range.count)
        extents.encode(into: &writer)
        writer.littleEndian(segmentCount)
        segments.encode(into: &writer)
        return writer.finish()
    }
}

extension RunContents {
    init(decoding bytes: [UInt8], objectBytes: UInt64, object: String) throws(StorageError) {
        var reader = ByteReader(bytes, object: object)
        guard try reader.byte() == RunFormat.PageKind.trailer.rawValue else {
            throw reader.corrupt("it has no trailer")
        }
        extentCount = try reader.littleEndian()
        range = try RunFormat.range(first: try reader.littleEndian(), count: try reader.littleEndian(), reader)
        extents = try PageTree(decoding: &reader, objectBytes: objectBytes)
        segmentCount = try reader.littleEndian()
        segments = try PageTree(decoding: &reader, objectBytes: objectBytes)
        try reader.finish()
    }
}
