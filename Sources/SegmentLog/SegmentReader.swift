public import Codec
import ObjectStorage
public import StoreCore

/// Opens segments, whole or record by record. Everything is checked before it is believed: each error is `corrupt` and
/// names the object and the place, but for `denied` (a key that the ring lacks) and `unsupported` (a newer format).
public enum SegmentReader {
    /// Checks a whole object's hash, trailer, index, and the geometry of every record and entry; records stay sealed.
    public static func open(
        _ object: [UInt8], id: SegmentID, keys: KeyRing
    ) throws(StorageError) -> (SegmentReference, SegmentIndex) {
        let name = id.key.text
        guard (SegmentFormat.objectBytesMin...SegmentFormat.objectBytesMax).contains(object.count) else {
            throw .corrupt(name, "a segment cannot have \(object.count) bytes")
        }
        let header = try ObjectHeader(decoding: object[...], expecting: .segment, object: name)
        let cipher = try keys.opening(header, identity: id.identity, object: name)
        let end = object.count - SegmentTrailer.sealedBytes
        let trailer = try SegmentTrailer(
            decoding: try cipher.open(object[end...], at: UInt64(end), object: name), object: name)
        try check(object[..<end], trailer, id)
        let position = Int(trailer.indexPosition)
        let plaintext = try cipher.open(object[position..<end], at: UInt64(position), object: name)
        let isPacked = id.isPacked
        let index = try SegmentIndex(decoding: plaintext, isPacked: isPacked, object: name)
        if let problem = index.problem(isPacked: isPacked, indexPosition: position) {
            throw .corrupt(name, at: UInt64(position), problem)
        }
        let reference = SegmentReference(
            id: id, header: header, contentHash: trailer.contentHash, byteCount: UInt32(object.count))
        return (reference, index)
    }

    /// As `open`, and every record opens and decompresses to its blocks.
    @discardableResult
    public static func verify(
        _ object: [UInt8], id: SegmentID, keys: KeyRing
    ) throws(StorageError) -> (SegmentReference, SegmentIndex) {
        let (reference, index) = try open(object, id: id, keys: keys)
        let key = try SegmentKey(of: reference, keys)
        for record in index.records {
            let frame = object[Int(record.position)..<Int(record.position) + Int(record.byteCount)]
            _ = try openRecord(frame, record, key)
        }
        return (reference, index)
    }

    /// A record's blocks, from its frame as a ranged GET brings it.
    public static func openRecord(
        _ frame: ArraySlice<UInt8>, _ record: RecordLocation, of segment: SegmentReference, keys: KeyRing
    ) throws(StorageError) -> [UInt8] {
        try openRecord(frame, record, SegmentKey(of: segment, keys))
    }

    /// A record's payload as it was stored, for `PackedSegmentBuilder`.
    public static func openStoredPayload(
        _ frame: ArraySlice<UInt8>, _ record: RecordLocation, of segment: SegmentReference, keys: KeyRing
    ) throws(StorageError) -> [UInt8] {
        try openStoredPayload(frame, record, SegmentKey(of: segment, keys))
    }

    static func openRecord(
        _ frame: ArraySlice<UInt8>, _ record: RecordLocation, _ key: SegmentKey
    ) throws(StorageError) -> [UInt8] {
        let payload = try openStoredPayload(frame, record, key)
        let rawBytes = SegmentFormat.rawBytes(Int(record.blockCount))
        guard payload.count != rawBytes else { return payload }
        return try Compression.decompress(payload[...], originalBytes: rawBytes, object: key.name)
    }

    static func openStoredPayload(
        _ frame: ArraySlice<UInt8>, _ record: RecordLocation, _ key: SegmentKey
    ) throws(StorageError) -> [UInt8] {
        let position = UInt64(record.position)
        if let problem = record.problem { throw .corrupt(key.name, at: position, problem) }
        guard frame.count == Int(record.byteCount) else {
            throw .corrupt(
                key.name, at: position, "a record is cut short", expected: "\(record.byteCount) bytes",
                actual: "\(frame.count)")
        }
        return try key.cipher.open(frame, at: position, object: key.name)
    }

    private static func check(
        _ content: ArraySlice<UInt8>, _ trailer: SegmentTrailer, _ id: SegmentID
    ) throws(StorageError) {
        let name = id.key.text
        let position = Int(trailer.indexPosition)
        guard position >= SegmentFormat.recordsPosition, position + Int(trailer.indexBytes) == content.endIndex else {
            throw .corrupt(name, at: UInt64(content.endIndex), "the index's place \(position) is impossible")
        }
        let hash = Digest.sha256(content)
        guard hash == trailer.contentHash else {
            throw .corrupt(name, "its content hash is wrong", expected: "\(trailer.contentHash)", actual: "\(hash)")
        }
        guard case .packed(_, let named) = id, named != hash else { return }
        throw .corrupt(name, "it holds other contents than its name says", expected: "\(named)", actual: "\(hash)")
    }
}

extension SegmentID {
    var isPacked: Bool {
        switch self {
        case .log: false
        case .packed: true
        }
    }
}

/// What it takes to open a segment's records, and to name it where one is damaged.
struct SegmentKey: Sendable {
    let cipher: ObjectCipher
    let name: String

    init(of segment: SegmentReference, _ keys: KeyRing) throws(StorageError) {
        name = segment.id.key.text
        cipher = try keys.opening(segment.header, identity: segment.id.identity, object: name)
    }
}
