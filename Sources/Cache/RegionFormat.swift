import Codec
import StoreCore

/// The bytes of a region: a file of the disk cache.
///
///     offset size
///          0       frames, as they lie in their segments, one after the other
///          f       directory: for each frame   8 fingerprint, 4 position in the file, 4 length, all little-endian
///     end-32       footer:   0  8 magic "ZRFSCACH"   8  8 directory's position   16  8 entries
///                           24  8 XXH3 of the directory
///
/// A region without a whole footer is dropped. Nothing here is secret, and nothing is believed: a frame is checked by
/// its own tag against the segment that was asked for.
enum RegionFormat {
    static let magic = Array("ZRFSCACH".utf8)
    static let footerBytes = 32
    static let entryBytes = 16
    static let namePrefix = "region-"

    struct Entry: Hashable, Sendable {
        var fingerprint: UInt64
        var position: UInt32
        var byteCount: UInt32
    }

    /// What follows the frames.
    static func directory(_ entries: [Entry], at position: Int) -> [UInt8] {
        var writer = ByteWriter(reserving: entries.count * entryBytes + footerBytes)
        for entry in entries {
            writer.littleEndian(entry.fingerprint)
            writer.littleEndian(entry.position)
            writer.littleEndian(entry.byteCount)
        }
        let hash = XXH3.hash(writer.bytes)
        writer.raw(magic)
        writer.littleEndian(UInt64(position))
        writer.littleEndian(UInt64(entries.count))
        writer.littleEndian(hash)
        return writer.finish()
    }

    /// A region's entries; nil where it has no whole directory.
    static func entries(of file: any LocalFile, byteCount: Int) async throws -> [Entry]? {
        guard byteCount >= footerBytes else { return nil }
        let footer = try await file.read(at: byteCount - footerBytes, count: footerBytes)
        var reader = ByteReader(footer, object: "cache region")
        guard footer.count == footerBytes, try reader.raw(8).elementsEqual(magic) else { return nil }
        let position = try reader.littleEndian(UInt64.self)
        let count = try reader.littleEndian(UInt64.self)
        let hash = try reader.littleEndian(UInt64.self)
        let end = UInt64(byteCount - footerBytes)
        guard position <= end, end - position == count.multipliedReportingOverflow(by: UInt64(entryBytes)).partialValue,
            count <= end / UInt64(entryBytes)
        else { return nil }
        let bytes = try await file.read(at: Int(position), count: Int(end - position))
        guard bytes.count == Int(end - position), XXH3.hash(bytes) == hash else { return nil }
        var entryReader = ByteReader(bytes, object: "cache region")
        var entries: [Entry] = []
        entries.reserveCapacity(Int(count))
        for _ in 0..<count {
            let entry = Entry(
                fingerprint: try entryReader.littleEndian(), position: try entryReader.littleEndian(),
                byteCount: try entryReader.littleEndian())
            guard UInt64(entry.position) + UInt64(entry.byteCount) <= position else { return nil }
            entries.append(entry)
        }
        return entries
    }
}
