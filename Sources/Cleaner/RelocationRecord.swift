import Cache
import Codec
import ObjectStorage
import SegmentLog
import StoreCore

/// Says where the records of one segment went: `relocated/<SHA-256 of the victim's key, in hex>`.
///
/// Created once, by whoever comes first, when all targets are in the store; never replaced. From then on every reader
/// may use either place, and the victim may go. Records that no version needed are missing.
///
/// Envelope of kind relocation; payload:
///
///     revision        1         1
///     victim                    a segment's name
///     victim hash    32         its content hash
///     targets n      varint     then n segment references
///     entries m      varint     then m times, ascending by old position:
///       old position   varint   the first whole, then the distance from the one before
///       target         varint   index into the targets
///       new position   varint
///       bytes          varint   of the frame, the same in both places
///       blocks         1
struct RelocationRecord: Hashable, Sendable {
    struct Entry: Hashable, Sendable {
        var oldPosition: UInt32
        var target: Int
        var record: RecordLocation
    }
    static let prefix = "relocated/"
    private static let revision: UInt8 = 1
    /// A target's shortest encoding: a name, a header, a hash, a size.
    private static let targetBytesMin = 2 + ObjectHeader.byteCount + 32 + 4

    var victim: SegmentID
    var victimHash: Digest
    var targets: [SegmentReference]
    var entries: [Entry]

    /// Its place depends on the victim alone, so that two who repack one segment meet.
    static func key(of victim: SegmentID) -> ObjectKey { ObjectKey(prefix + name(of: victim).description) }
    static func name(of victim: SegmentID) -> Digest { .sha256(Array(victim.key.text.utf8)) }
    static func name(of key: ObjectKey) -> Digest? {
        guard key.text.hasPrefix(prefix) else { return nil }
        let hex = key.text.dropFirst(prefix.utf8.count)
        guard let name = Digest(hex: hex), name.description == hex else { return nil }
        return name
    }

    /// The names of all records that exist; LISTs only.
    static func names(in store: any ObjectStore) async throws -> Set<Digest> {
        var names: Set<Digest> = []
        try await store.forEachObject(prefix: prefix) { object in
            if let name = name(of: object.key) { names.insert(name) }
        }
        return names
    }

    func entry(at oldPosition: UInt32) -> Entry? {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].oldPosition < oldPosition { low = middle + 1 } else { high = middle }
        }
        return low < entries.count && entries[low].oldPosition == oldPosition ? entries[low] : nil
    }

    /// For the read path.
    var relocation: Relocation {
        var places: [UInt32: Relocation.Place] = [:]
        places.reserveCapacity(entries.count)
        for entry in entries {
            places[entry.oldPosition] = Relocation.Place(segment: targets[entry.target], record: entry.record)
        }
        return Relocation(places)
    }
}

extension RelocationRecord {
    func sealed(with keys: KeyRing) throws(StorageError) -> [UInt8] {
        try Envelope.seal(encoded(), kind: .relocation, identity: Self.key(of: victim).text, keys: keys)
    }
    func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 128 + targets.count * 128 + entries.count * 10)
        writer.byte(Self.revision)
        victim.encode(into: &writer)
        writer.digest(victimHash)
        writer.varint(UInt64(targets.count))
        for target in targets { target.encode(into: &writer) }
        writer.varint(UInt64(entries.count))
        var last: UInt32 = 0
        for entry in entries {
            writer.varint(UInt64(entry.oldPosition - last))
            last = entry.oldPosition
            writer.varint(UInt64(entry.target))
            writer.varint(UInt64(entry.record.position))
            writer.varint(UInt64(entry.record.byteCount))
            writer.byte(entry.record.blockCount)
        }
        return writer.finish()
    }

    /// Throws `corrupt`, which names the object, for anything but what was sealed at this place.
    init(opening object: [UInt8], at key: ObjectKey, keys: KeyRing) throws(StorageError) {
        let payload = try Envelope.open(object, kind: .relocation, identity: key.text, keys: keys)
        try self.init(decoding: payload, object: key.text)
        guard Self.key(of: victim) == key else { throw .corrupt(key.text, "it speaks of segment \(victim)") }
    }
    init(decoding payload: [UInt8], object: String) throws(StorageError) {
        var reader = ByteReader(payload, object: object)
        try reader.revision(upTo: Self.revision)
        victim = try SegmentID(decoding: &reader)
        victimHash = try reader.digest()
        targets = []
        for _ in 0..<(try reader.count(bytesEach: Self.targetBytesMin)) {
            targets.append(try SegmentReference(decoding: &reader, object: object))
        }
        entries = []
        var last: UInt64 = 0
        for index in 0..<(try reader.count(bytesEach: 5)) {
            let distance = try reader.varint()
            let target = try reader.varint()
            guard index == 0 || distance > 0, distance <= UInt64(UInt32.max) - last, target < UInt64(targets.count)
            else {
                throw reader.corrupt("a record lies out of its place")
            }
            last += distance
            let position = try reader.varint()
            let byteCount = try reader.varint()
            guard position <= UInt64(UInt32.max), byteCount <= UInt64(UInt32.max) else {
                throw reader.corrupt("a record outside of any segment")
            }
            let record = RecordLocation(
                position: UInt32(position), byteCount: UInt32(byteCount), blockCount: try reader.byte())
            entries.append(Entry(oldPosition: UInt32(last), target: Int(target), record: record))
        }
        try reader.finish()
    }
}
