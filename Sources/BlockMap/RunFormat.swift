import Codec
import StoreCore

/// A run object, as it lies in the store:
///
///     | header 32 | extent pages | index pages, root last | segment pages | index pages, root last | trailer 71 |
///
/// Every page is one sealed frame at its byte position. A tree of height 0 is one page and has no index; its root is
/// named by the reference and by the trailer. Pages of one level follow each other without gaps, so that an index
/// stores sizes only.
enum RunFormat {
    /// First byte of a page's content. On storage: append, never renumber.
    enum PageKind: UInt8 {
        case extents = 1
        case extentIndex, segments, segmentIndex, trailer
    }

    /// What a reader accepts as one page, before and after compression.
    static let pageBytesMax = 4 << 20
    static let pageExtentsMax = 1 << 16
    /// More levels than any run within `Limits` can have.
    static let treeHeightMax: UInt8 = 8
    /// Blocks of the largest volume: nothing in a run lies beyond.
    static let blocksMax = Limits.volumeBytesMax / UInt64(blockBytes)
    /// No store takes a larger object. So the sizes of all runs of a layout can be added.
    static let objectBytesMax: UInt64 = 1 << 40
    static let trailerBytes = 55 + ObjectCipher.tagBytes

    /// What a run says that it covers; nothing lies beyond the largest volume.
    static func range(first: UInt64, count: UInt64, _ reader: ByteReader) throws(StorageError) -> BlockRange {
        guard first < blocksMax, count > 0, count <= blocksMax - first else {
            throw reader.corrupt("a run covers blocks that no volume has")
        }
        return BlockRange(first: BlockIndex(first), count: count)
    }

    /// What a run's cipher is derived from: its folder, since its name is the hash of what the cipher makes.
    static func identity(_ volume: VolumeID, _ epoch: Epoch) -> String { "volumes/\(volume)/map/\(epoch.value.hex)" }
}

/// Where a page lies in its run object.
public struct PageLocation: Hashable, Sendable {
    /// The frame's first byte, its nonce.
    public var position: UInt64
    /// Bytes in the object, tag included.
    public var byteCount: UInt32
    var end: UInt64 { position + UInt64(byteCount) }
}

/// A tree of pages: its root, and how many levels of index stand above its leaves.
public struct PageTree: Hashable, Sendable {
    public var root: PageLocation
    public var height: UInt8
    /// No pages at all: the segment table of a run that holds only zeroes.
    static let empty = PageTree(root: PageLocation(position: 0, byteCount: 0), height: 0)
    var isEmpty: Bool { root.byteCount == 0 }

    func encode(into writer: inout ByteWriter) {
        writer.littleEndian(root.position)
        writer.littleEndian(root.byteCount)
        writer.byte(height)
    }
    init(root: PageLocation, height: UInt8) {
        self.root = root
        self.height = height
    }
    /// - Parameter objectBytes: of the whole run; a root beyond it is damage.
    init(decoding reader: inout ByteReader, objectBytes: UInt64) throws(StorageError) {
        let position: UInt64 = try reader.littleEndian()
        let byteCount: UInt32 = try reader.littleEndian()
        self.init(root: PageLocation(position: position, byteCount: byteCount), height: try reader.byte())
        guard position <= objectBytes, UInt64(byteCount) <= objectBytes - position, byteCount <= RunFormat.pageBytesMax,
            height <= RunFormat.treeHeightMax
        else { throw reader.corrupt("the root of a page tree lies outside of its object") }
    }
}

/// How large the parts of a run are made. Readers take any shape within `RunFormat`'s maxima.
public struct RunShape: Hashable, Sendable {
    /// Of an extent page, before compression.
    public var pageBytes = Limits.runBlockBytesTarget
    public var pageExtentsMax = 8192
    public var indexEntriesMax = 4096
    public var segmentsPerPage = 256
    /// Of a run object, before compression: the segment table, repeated in each run, wants large ones; memory small
    /// ones.
    public var runBytes = 64 << 20
    public static let standard = RunShape()
}
