import Codec
import StoreCore

/// The last 64 bytes of a segment, sealed as one frame.
///
///     offset size
///          0    8  magic "ZRFSSEGT"
///          8    4  index position, little-endian
///         12    4  bytes of the index's frame, tag included, little-endian
///         16   32  content hash: SHA-256 of all bytes before the trailer
///         48   16  tag
struct SegmentTrailer: Hashable {
    static let magic: [UInt8] = Array("ZRFSSEGT".utf8)
    static let plaintextBytes = 48
    static let sealedBytes = plaintextBytes + ObjectCipher.tagBytes

    var indexPosition: UInt32
    var indexBytes: UInt32
    var contentHash: Digest

    func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: Self.plaintextBytes)
        writer.raw(Self.magic)
        writer.littleEndian(indexPosition)
        writer.littleEndian(indexBytes)
        writer.digest(contentHash)
        return writer.finish()
    }

    init(indexPosition: Int, indexBytes: Int, contentHash: Digest) {
        self.indexPosition = UInt32(indexPosition)
        self.indexBytes = UInt32(indexBytes)
        self.contentHash = contentHash
    }

    init(decoding plaintext: [UInt8], object: String) throws(StorageError) {
        var reader = ByteReader(plaintext, object: "\(object) (trailer)")
        guard try reader.raw(Self.magic.count).elementsEqual(Self.magic) else { throw reader.corrupt("no trailer") }
        indexPosition = try reader.littleEndian()
        indexBytes = try reader.littleEndian()
        contentHash = try reader.digest()
        try reader.finish()
    }
}
