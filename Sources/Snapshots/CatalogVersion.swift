import Codec
import ObjectStorage
import StoreCore

/// One number of the catalog: the pages that it rests on, and what changed since they were folded.
///
/// Self-contained: object and pages give the whole state, with no other number. A small catalog has no pages.
struct CatalogVersion: NumberedVersion {
    var state = CatalogState()
    /// Empty, or regions that cover the hash space in order.
    var pages: [CatalogPageReference] = []
    /// Rows that differ from the pages'; a row that the state lacks was removed.
    var tail: Set<RowID> = []
    var recentOperations: [OperationID] = []

    var number: UInt64 { state.number }
    var numbersKeptFrom: UInt64? { state.catalogFloor }

    static let prefix = "catalog"
    static let tailRowsMax = 64
    static let tailBytesMax = 64 << 10
    static let revision: UInt8 = 1
    static func key(_ number: UInt64) -> ObjectKey { NumberedObjects.key(prefix: prefix, number: number) }

    func sealed(with keys: KeyRing) throws(StorageError) -> [UInt8] {
        try Envelope.seal(encoded(), kind: .catalog, identity: Self.key(number).text, keys: keys)
    }

    func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 4096)
        writer.byte(Self.revision)
        writer.varint(number)
        writer.timestamp(state.created)
        writer.varint(state.catalogFloor)
        writer.varint(state.birthFloor)
        writer.operations(recentOperations)
        writer.varint(UInt64(pages.count))
        for page in pages { page.encode(into: &writer) }
        encodeTail(into: &writer)
        return writer.finish()
    }
    private func encodeTail(into writer: inout ByteWriter) {
        writer.varint(UInt64(tail.count))
        for id in tail.sorted() {
            let row = state.row(id)
            writer.byte(row == nil ? 0 : 1)
            if let row { row.encode(into: &writer) } else { id.encode(into: &writer) }
        }
    }

    /// True when what changed no longer fits in line.
    var mustFold: Bool {
        guard tail.count <= Self.tailRowsMax else { return true }
        var writer = ByteWriter()
        encodeTail(into: &writer)
        return writer.count > Self.tailBytesMax
    }
}

/// A catalog object as it was read, before its pages are there.
struct CatalogObject: Sendable {
    var number: UInt64
    var created: Timestamp
    var catalogFloor: UInt64
    var birthFloor: UInt64
    var recentOperations: [OperationID]
    var pages: [CatalogPageReference]
    /// nil: the row was removed.
    var tail: [(id: RowID, row: CatalogRow?)]

    /// Throws `corrupt`, which names the object, for anything but what was sealed as this number.
    init(opening object: [UInt8], number: UInt64, keys: KeyRing) throws(StorageError) {
        let name = CatalogVersion.key(number).text
        let payload = try Envelope.open(object, kind: .catalog, identity: name, keys: keys)
        try self.init(decoding: payload, number: number)
    }

    init(decoding payload: [UInt8], number expected: UInt64) throws(StorageError) {
        let name = CatalogVersion.key(expected).text
        var reader = ByteReader(payload, object: name)
        try reader.revision(upTo: CatalogVersion.revision)
        number = try reader.varint()
        guard number == expected else {
            throw .corrupt(name, "it is another number", expected: "\(expected)", actual: "\(number)")
        }
        created = try reader.timestamp()
        catalogFloor = try reader.varint()
        birthFloor = try reader.varint()
        recentOperations = try reader.operations()
        pages = []
        for _ in 0..<(try reader.count(bytesEach: CatalogPageReference.encodedBytesMin)) {
            pages.append(try CatalogPageReference(decoding: &reader))
        }
        guard pages.isEmpty || PageRegion.coverAll(pages.map(\.region)) else {
            throw reader.corrupt("its pages do not cover the catalog")
        }
        tail = []
        for _ in 0..<(try reader.count(bytesEach: 1 + RowID.encodedBytes)) {
            let present = try reader.byte()
            let id = try RowID(decoding: &reader)
            guard present <= 1, tail.last.map({ $0.id < id }) ?? true else {
                throw reader.corrupt("a row lies out of its place")
            }
            tail.append((id, present == 1 ? try CatalogRow.decode(id, from: &reader, object: name) : nil))
        }
        try reader.finish()
    }

    /// The version that this object and the rows of its pages give.
    ///
    /// - Parameters:
    ///   - base: an earlier version, or an empty one.
    ///   - rows: of every page that `base` does not have. A page that both have was not folded in between, and then
    ///     whatever changed in its region is in this tail.
    func version(
        on base: CatalogVersion, rows: [CatalogPageReference: [CatalogRow]]
    ) throws(StorageError) -> CatalogVersion {
        var state = base.state
        state.number = number
        state.created = created
        state.catalogFloor = catalogFloor
        state.birthFloor = birthFloor
        // All that goes, goes first: a name may move from one row to another.
        let changed = pages.isEmpty ? [.all] : pages.filter { $0.isEmpty || rows[$0] != nil }.map(\.region)
        for region in changed {
            for row in state.rows(in: region) { state.remove(row.id) }
        }
        for (id, _) in tail { state.remove(id) }
        let replaced = Set(tail.map(\.id))
        let paged = pages.flatMap { rows[$0] ?? [] }.filter { !replaced.contains($0.id) }
        for row in paged + tail.compactMap(\.row) where !state.put(row) {
            throw .corrupt(CatalogVersion.key(number).text, "two rows have the name of \(row.id.bits.hex)")
        }
        return CatalogVersion(state: state, pages: pages, tail: replaced, recentOperations: recentOperations)
    }
}
