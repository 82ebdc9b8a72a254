import Codec
import StoreCore

/// A page's content as the plaintext of its frame: compressed where that pays.
///
///     offset size
///          0    1  0 raw, 1 zstd
///          1    4  zstd only: length before, little-endian
///                  content, whose first byte is the page's kind
enum PageFrame {
    static func seal(_ content: [UInt8], with cipher: ObjectCipher, appendingTo object: inout [UInt8])
        throws(StorageError) -> PageLocation
    {
        precondition(content.count <= RunFormat.pageBytesMax, "a page is small")
        var writer = ByteWriter(reserving: content.count + 1)
        if let compressed = try Compression.compress(content) {
            writer.byte(1)
            writer.littleEndian(UInt32(content.count))
            writer.raw(compressed)
        } else {
            writer.byte(0)
            writer.raw(content)
        }
        let position = object.count
        try cipher.seal(writer.finish(), at: UInt64(position), appendingTo: &object)
        return PageLocation(position: UInt64(position), byteCount: UInt32(object.count - position))
    }

    /// - Parameter frame: the sealed bytes that lie at `location`.
    static func open(_ frame: ArraySlice<UInt8>, at location: PageLocation, with cipher: ObjectCipher, object: String)
        throws(StorageError) -> [UInt8]
    {
        guard frame.count == Int(location.byteCount) else {
            throw .corrupt(
                object, at: location.position, "a page is cut short", expected: "\(location.byteCount) bytes",
                actual: "\(frame.count)")
        }
        let plaintext = try cipher.open(frame, at: location.position, object: object)
        var reader = ByteReader(plaintext, object: object)
        switch try reader.byte() {
        case 0: return Array(plaintext[1...])
        case 1:
            let count: UInt32 = try reader.littleEndian()
            guard count <= RunFormat.pageBytesMax else {
                throw .corrupt(object, at: location.position, "a page claims \(count) bytes")
            }
            return try Compression.decompress(plaintext[5...], originalBytes: Int(count), object: object)
        case let flag: throw .corrupt(object, at: location.position, "page encoding \(flag) does not exist")
        }
    }
}
