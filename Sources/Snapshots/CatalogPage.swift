import Codec
import ObjectStorage
import StoreCore

/// Where the rows of a region lie: `catalog-page/<number>/<content hash>`. A region without rows has no object.
struct CatalogPageReference: Hashable, Sendable {
    var region: PageRegion
    /// The catalog number that it was made for: when that number exists and no catalog that is kept names the page, it
    /// lost its race and nothing can name it any more.
    var number: UInt64
    /// SHA-256 of the whole object.
    var hash: Digest
    var byteCount: UInt64

    static func empty(_ region: PageRegion) -> Self { Self(region: region, number: 0, hash: .zero, byteCount: 0) }
    var isEmpty: Bool { number == 0 }

    static let prefix = "catalog-page"
    static func folder(_ number: UInt64) -> String { "\(prefix)/\(number.hex)" }
    var key: ObjectKey { ObjectKey("\(Self.folder(number))/\(hash)") }

    func encode(into writer: inout ByteWriter) {
        writer.byte(region.depth)
        writer.littleEndian(region.prefix)
        writer.varint(number)
        guard !isEmpty else { return }
        writer.varint(byteCount)
        writer.digest(hash)
    }
    init(region: PageRegion, number: UInt64, hash: Digest, byteCount: UInt64) {
        self.region = region
        self.number = number
        self.hash = hash
        self.byteCount = byteCount
    }
    init(decoding reader: inout ByteReader) throws(StorageError) {
        let depth = try reader.byte()
        let region = PageRegion(prefix: try reader.littleEndian(), depth: depth)
        let number = try reader.varint()
        self = .empty(region)
        guard number > 0 else { return }
        self.number = number
        byteCount = try reader.varint()
        hash = try reader.digest()
    }
    static let encodedBytesMin = 10
}

/// A page that was made and not yet uploaded.
struct SealedPage: Sendable {
    var reference: CatalogPageReference
    var bytes: [UInt8]
}

enum CatalogPage {
    private static let revision: UInt8 = 1

    static func encoded(_ rows: [CatalogRow], region: PageRegion, number: UInt64) -> [UInt8] {
        var writer = ByteWriter(reserving: 64 + rows.count * 128)
        writer.byte(revision)
        writer.varint(number)
        writer.byte(region.depth)
        writer.littleEndian(region.prefix)
        writer.varint(UInt64(rows.count))
        for row in rows { row.encode(into: &writer) }
        return writer.finish()
    }

    static func seal(
        _ payload: [UInt8], region: PageRegion, number: UInt64, keys: KeyRing
    ) throws(StorageError) -> SealedPage {
        let folder = CatalogPageReference.folder(number)
        let bytes = try Envelope.seal(payload, kind: .catalogPage, identity: folder, keys: keys)
        let reference = CatalogPageReference(
            region: region, number: number, hash: .sha256(bytes), byteCount: UInt64(bytes.count))
        return SealedPage(reference: reference, bytes: bytes)
    }

    /// The rows of a page; throws `corrupt`, which names the object, for anything but what `reference` means.
    static func rows(
        opening object: [UInt8], as reference: CatalogPageReference, keys: KeyRing
    ) throws(StorageError) -> [CatalogRow] {
        let name = reference.key.text
        let found = Digest.sha256(object)
        guard found == reference.hash else {
            throw .corrupt(name, "its bytes have another hash", expected: "\(reference.hash)", actual: "\(found)")
        }
        let folder = CatalogPageReference.folder(reference.number)
        let payload = try Envelope.open(object, kind: .catalogPage, identity: folder, name: name, keys: keys)
        return try rows(decoding: payload, as: reference)
    }

    static func rows(
        decoding payload: [UInt8], as reference: CatalogPageReference
    ) throws(StorageError) -> [CatalogRow] {
        let name = reference.key.text
        var reader = ByteReader(payload, object: name)
        try reader.revision(upTo: revision)
        let number = try reader.varint()
        let depth = try reader.byte()
        guard number == reference.number, depth == reference.region.depth,
            try reader.littleEndian(UInt64.self) == reference.region.prefix
        else { throw reader.corrupt("it is the page of another region") }
        var rows: [CatalogRow] = []
        for _ in 0..<(try reader.count(bytesEach: RowID.encodedBytes)) {
            let id = try RowID(decoding: &reader)
            guard reference.region.contains(id.hash), rows.last.map({ $0.id < id }) ?? true else {
                throw reader.corrupt("a row lies out of its place")
            }
            rows.append(try CatalogRow.decode(id, from: &reader, object: name))
        }
        try reader.finish()
        return rows
    }
}
