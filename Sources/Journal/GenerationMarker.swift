import Codec
import StoreCore

/// The file `token` of a generation: whose journal this is. Plain, so that a server can tell what lies in its data
/// directory without keys; it holds nothing but identifiers, and the keys of the entries are derived from them.
///
///     offset size
///          0    8  magic "ZRFSJRNL"
///          8    2  version, little-endian: 1
///         10    1  kind: 0 journaled, 1 unjournaled, 2 claim only (`OpeningKind`)
///         11    5  zero
///         16   16  volume id
///         32   16  owner token
///         48    8  generation
///         56    8  epoch that the owner was about to claim
///         64    8  when it was made, nanoseconds since 1970
///         72   16  boot id
///         88   32  SHA-256 of all before
struct GenerationMarker: Hashable {
    static let magic = Array("ZRFSJRNL".utf8)
    static let fileName = "token"

    var kind = OpeningKind.journaled
    var volume: VolumeID
    var token: OwnerToken
    var generation: UInt64
    var epoch: Epoch
    var created: Timestamp
    var bootID: UInt128

    var bytes: [UInt8] {
        var writer = ByteWriter(reserving: 120)
        writer.raw(Self.magic)
        writer.littleEndian(UInt16(1))
        writer.raw([kind.rawValue, 0, 0, 0, 0, 0])
        writer.identifier(volume.bits)
        writer.identifier(token.bits)
        writer.littleEndian(generation)
        writer.littleEndian(epoch.value)
        writer.timestamp(created)
        writer.identifier(bootID)
        writer.digest(.sha256(writer.bytes))
        return writer.finish()
    }
}

extension GenerationMarker {
    init(decoding bytes: [UInt8], path: String) throws(StorageError) {
        var reader = ByteReader(bytes, object: path)
        guard try reader.raw(8).elementsEqual(Self.magic) else {
            throw .corrupt(path, at: 0, "it is no journal's token")
        }
        let version = try reader.littleEndian(UInt16.self)
        guard version == 1 else {
            throw StorageError(.unsupported, "the journal \(path) has version \(version): use the zerofs that wrote it")
        }
        let number = try reader.littleEndian(UInt8.self)
        guard try reader.raw(5).allSatisfy({ $0 == 0 }) else {
            throw .corrupt(path, at: 11, "reserved bytes are not zero")
        }
        volume = VolumeID(try reader.identifier())
        token = OwnerToken(try reader.identifier())
        generation = try reader.littleEndian()
        epoch = Epoch(try reader.littleEndian())
        created = try reader.timestamp()
        bootID = try reader.identifier()
        let covered = reader.offset
        guard try reader.digest() == .sha256(bytes[..<covered]) else {
            throw .corrupt(path, at: UInt64(covered), "its hash is wrong")
        }
        guard let kind = OpeningKind(rawValue: number) else {
            throw StorageError(.unsupported, "the journal \(path) is of kind \(number): use the zerofs that wrote it")
        }
        self.kind = kind
        try reader.finish()
    }
}
