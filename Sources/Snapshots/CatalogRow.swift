import Codec
import StoreCore

/// What names a row of the catalog: the unit in which it changes, and in which pages hold it.
struct RowID: Hashable, Comparable, Sendable {
    /// The number is on storage.
    enum Kind: UInt8, Sendable { case volume = 1, snapshot = 2, deleted = 3 }
    var kind: Kind
    var bits: UInt128

    /// Spreads rows over pages by their own id, so that a rename, or a thousand snapshots of one volume, touch no
    /// more pages than they change rows.
    var hash: UInt64 { XXH3.hash(bits.bigEndianBytes) }

    static func < (a: Self, b: Self) -> Bool { (a.kind.rawValue, a.bits) < (b.kind.rawValue, b.bits) }

    static func volume(_ id: VolumeID) -> RowID { RowID(kind: .volume, bits: id.bits) }
    static func snapshot(_ id: SnapshotID) -> RowID { RowID(kind: .snapshot, bits: id.bits) }
    static func deleted(_ id: VolumeID) -> RowID { RowID(kind: .deleted, bits: id.bits) }

    func encode(into writer: inout ByteWriter) {
        writer.byte(kind.rawValue)
        writer.identifier(bits)
    }
    init(kind: Kind, bits: UInt128) {
        self.kind = kind
        self.bits = bits
    }
    init(decoding reader: inout ByteReader) throws(StorageError) {
        let found = try reader.byte()
        guard let kind = Kind(rawValue: found) else { throw reader.corrupt("a row of unknown kind \(found)") }
        self.init(kind: kind, bits: try reader.identifier())
    }
    static let encodedBytes = 17
}

enum CatalogRow: Hashable, Sendable {
    case volume(VolumeRecord)
    case snapshot(SnapshotRecord)
    case deleted(DeletedVolume)

    var id: RowID {
        switch self {
        case .volume(let record): .volume(record.id)
        case .snapshot(let record): .snapshot(record.id)
        case .deleted(let record): .deleted(record.id)
        }
    }

    /// The row's id, then its fields with their length before them: what a newer version appends is carried along.
    func encode(into writer: inout ByteWriter) {
        id.encode(into: &writer)
        var fields = ByteWriter(reserving: 128)
        encodeFields(into: &fields)
        writer.varint(UInt64(fields.count))
        writer.raw(fields.bytes)
    }
    static func decode(_ id: RowID, from reader: inout ByteReader, object: String) throws(StorageError) -> CatalogRow {
        let count = try reader.count(bytesEach: 1)
        var fields = ByteReader(try reader.raw(count), object: object)
        return try CatalogRow(id, decodingFields: &fields)
    }

    private func encodeFields(into writer: inout ByteWriter) {
        switch self {
        case .volume(let record):
            writer.string(record.name)
            writer.timestamp(record.created)
            writer.varint(record.manifestFloor)
            writer.varint(record.epochFloor.value)
            writer.strings(record.holds)
            writer.byte(record.parent == nil ? 0 : 1)
            record.parent?.encode(into: &writer)
            writer.raw(record.extra)
        case .snapshot(let record):
            writer.identifier(record.volume.bits)
            writer.string(record.name)
            writer.timestamp(record.created)
            record.version.encode(into: &writer)
            writer.varint(record.sizeBytes)
            writer.optional(record.writtenBytes)
            writer.varint(record.fromManifest)
            writer.strings(record.holds)
            writer.raw(record.extra)
        case .deleted(let record):
            writer.string(record.name)
            writer.timestamp(record.deleted)
            writer.varint(record.catalogNumber)
            writer.raw(record.extra)
        }
    }

    private init(_ id: RowID, decodingFields reader: inout ByteReader) throws(StorageError) {
        switch id.kind {
        case .volume:
            let name = try reader.name()
            let created = try reader.timestamp()
            let manifestFloor = try reader.varint()
            let epochFloor = Epoch(try reader.varint())
            let holds = try reader.strings()
            let parent = try reader.flag() ? try Lineage(decoding: &reader) : nil
            var record = VolumeRecord(
                id: VolumeID(id.bits), name: name, created: created, parent: parent, manifestFloor: manifestFloor,
                epochFloor: epochFloor, holds: holds)
            record.extra = Array(try reader.raw(reader.remaining))
            self = .volume(record)
        case .snapshot:
            let volume = VolumeID(try reader.identifier())
            let name = try reader.name()
            let created = try reader.timestamp()
            let version = try VersionReference(decoding: &reader)
            let sizeBytes = try reader.varint()
            let writtenBytes = try reader.optional()
            var record = SnapshotRecord(
                id: SnapshotID(id.bits), volume: volume, name: name, created: created, version: version,
                sizeBytes: sizeBytes, writtenBytes: writtenBytes, fromManifest: try reader.varint())
            record.holds = try reader.strings()
            record.extra = Array(try reader.raw(reader.remaining))
            self = .snapshot(record)
        case .deleted:
            let name = try reader.name()
            let deleted = try reader.timestamp()
            var record = DeletedVolume(
                id: VolumeID(id.bits), name: name, deleted: deleted, catalogNumber: try reader.varint())
            record.extra = Array(try reader.raw(reader.remaining))
            self = .deleted(record)
        }
    }
}

extension Lineage {
    func encode(into writer: inout ByteWriter) {
        writer.identifier(volume.bits)
        writer.string(volumeName)
        writer.timestamp(time)
        writer.byte(snapshot == nil ? 0 : 1)
        if let snapshot {
            writer.identifier(snapshot.bits)
            writer.string(snapshotName ?? "")
        }
    }
    init(decoding reader: inout ByteReader) throws(StorageError) {
        volume = VolumeID(try reader.identifier())
        volumeName = try reader.name()
        time = try reader.timestamp()
        (snapshot, snapshotName) = (nil, nil)
        if try reader.flag() {
            snapshot = SnapshotID(try reader.identifier())
            let name = try reader.string()
            snapshotName = name.isEmpty ? nil : name
        }
    }
}

extension ByteWriter {
    fileprivate mutating func strings(_ values: [String]) {
        varint(UInt64(values.count))
        for value in values { string(value) }
    }
    fileprivate mutating func optional(_ value: UInt64?) {
        byte(value == nil ? 0 : 1)
        if let value { varint(value) }
    }
}
extension ByteReader {
    fileprivate mutating func strings() throws(StorageError) -> [String] {
        var values: [String] = []
        for _ in 0..<(try count(bytesEach: 1)) { values.append(try string()) }
        return values
    }
    fileprivate mutating func optional() throws(StorageError) -> UInt64? { try flag() ? try varint() : nil }
    fileprivate mutating func flag() throws(StorageError) -> Bool {
        let value = try byte()
        guard value <= 1 else { throw corrupt("a flag is \(value)") }
        return value == 1
    }
    fileprivate mutating func name() throws(StorageError) -> String {
        let name = try string()
        guard VolumeName.isValid(name) else { throw corrupt("'\(name)' is no valid name") }
        return name
    }
}
