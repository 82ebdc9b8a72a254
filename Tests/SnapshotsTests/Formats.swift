import BlockMap
import Codec
import ObjectStorage
import StoreCore
import Testing

@testable import Snapshots

/// The bytes on storage, frozen. A change here is a change of the format.
@Suite struct FormatsAreFrozen {
    static let operation = OperationID(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100)
    static let volume = VolumeID(0x1111_1111_1111_1111_2222_2222_2222_2222)
    static let time = Timestamp(nanoseconds: 1_700_000_000_123_456_789)

    static var manifest: Manifest {
        var state = VolumeState.sized(10 << 30)
        state.covered = LogPosition(epoch: Epoch(2), sequence: SegmentSequence(300))
        state.coveredHash = Digest(high: 1, low: 2)
        state.coveredWrite = WriteSequence(70_000)
        state.coveredTime = time
        return Manifest(
            volume: volume, number: 5, epoch: Epoch(4),
            owner: Owner(token: OwnerToken(0xaa), host: "db1", isReleased: true, since: time),
            openEpochs: [Epoch(4)], closedEpochs: [ClosedEpoch(epoch: Epoch(3), end: SegmentSequence(9))], state: state,
            parent: VolumeID(7), firstNumberKept: 2, recentOperations: [operation], created: time, isTombstone: false)
    }
    static var version: PinnedVersion {
        PinnedVersion(volume: volume, epoch: Epoch(4), state: manifest.state, created: time)
    }
    static var catalog: CatalogVersion {
        var state = CatalogState()
        (state.number, state.created, state.catalogFloor, state.birthFloor) = (9, time, 2, 8)
        var pg = VolumeRecord(id: volume, name: "pg", created: time)
        (pg.manifestFloor, pg.epochFloor, pg.holds) = (3, Epoch(1), ["audit"])
        let lineage = Lineage(
            volume: volume, volumeName: "pg", snapshot: SnapshotID(5), snapshotName: "monday", time: time)
        let branch = VolumeRecord(id: VolumeID(8), name: "pg-staging", created: time, parent: lineage)
        let snapshot = SnapshotRecord(
            id: SnapshotID(5), volume: volume, name: "monday", created: time,
            version: VersionReference(volume: volume, epoch: Epoch(4), hash: Digest(high: 3, low: 4)),
            sizeBytes: 10 << 30, writtenBytes: 1 << 20, fromManifest: 5)
        let deleted = DeletedVolume(id: VolumeID(9), name: "old", deleted: time, catalogNumber: 6)
        let rows: [CatalogRow] = [.volume(pg), .volume(branch), .snapshot(snapshot), .deleted(deleted)]
        for row in rows {
            let isNew = state.put(row)
            precondition(isNew, "the fixture has no name twice")
        }
        let page = CatalogPageReference(
            region: PageRegion.all.halves[1], number: 4, hash: Digest(high: 5, low: 6), byteCount: 1000)
        return CatalogVersion(
            state: state, pages: [.empty(PageRegion.all.halves[0]), page],
            tail: Set(rows.map(\.id) + [.snapshot(SnapshotID(6))]), recentOperations: [operation])
    }

    @Test func manifest() throws {
        let bytes = Self.manifest.encoded()
        #expect(hex(bytes) == Golden.manifest)
        #expect(try Manifest(decoding: bytes, object: "m") == Self.manifest)
    }
    @Test func version() throws {
        let bytes = Self.version.encoded()
        #expect(hex(bytes) == Golden.version)
        #expect(try PinnedVersion(decoding: bytes, object: "v") == Self.version)
    }
    @Test func catalog() throws {
        let bytes = Self.catalog.encoded()
        #expect(hex(bytes) == Golden.catalog)
        let object = try CatalogObject(decoding: bytes, number: 9)
        #expect(object.pages == Self.catalog.pages && object.tail.count == 5)
        #expect(object.tail.compactMap(\.row) == Self.catalog.tail.sorted().compactMap(Self.catalog.state.row))
    }
    @Test func page() throws {
        let rows = Self.catalog.state.rows(in: .all)
        let bytes = CatalogPage.encoded(rows, region: .all, number: 4)
        #expect(hex(bytes) == Golden.page)
        let reference = CatalogPageReference(region: .all, number: 4, hash: .zero, byteCount: 0)
        #expect(try CatalogPage.rows(decoding: bytes, as: reference) == rows)
    }
    @Test func names() {
        #expect(Self.manifest.key.text == "volumes/11111111111111112222222222222222/manifest/fffffffffffffffa")
        #expect(CatalogVersion.key(1).text == "catalog/fffffffffffffffe")
        #expect(
            VersionReference(volume: Self.volume, epoch: Epoch(4), hash: .zero).key.text
                == "volumes/11111111111111112222222222222222/version/0000000000000004/\(Digest.zero)")
        #expect(
            CatalogPageReference(region: .all, number: 4, hash: .zero, byteCount: 0).key.text
                == "catalog-page/0000000000000004/\(Digest.zero)")
        #expect(RowID.volume(Self.volume).hash == Golden.rowHash)
    }
    private func hex(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}

@Suite struct DamageIsNamed {
    typealias Fixed = FormatsAreFrozen

    /// Every cut and every flipped bit of every kind of object.
    @Test func ofSealedObjects() async throws {
        let keys = KeyRing.generate()
        let manifest = try Fixed.manifest.sealed(with: keys)
        let catalog = try Fixed.catalog.sealed(with: keys)
        let (reference, version) = try Fixed.version.seal(with: keys)
        let payload = CatalogPage.encoded(Fixed.catalog.state.rows(in: .all), region: .all, number: 4)
        let page = try CatalogPage.seal(payload, region: .all, number: 4, keys: keys)
        try damage(manifest, named: "volumes/11111111111111112222222222222222/manifest") {
            _ = try Manifest(opening: $0, of: Fixed.volume, number: 5, keys: keys)
        }
        try damage(catalog, named: "catalog/") { _ = try CatalogObject(opening: $0, number: 9, keys: keys) }
        try damage(version, named: reference.key.text) { _ = try PinnedVersion(opening: $0, as: reference, keys: keys) }
        try damage(page.bytes, named: page.reference.key.text) {
            _ = try CatalogPage.rows(opening: $0, as: page.reference, keys: keys)
        }
    }
    private func damage(_ object: [UInt8], named name: String, _ open: ([UInt8]) throws -> Void) throws {
        try open(object)
        for index in object.indices {
            var flipped = object
            flipped[index] ^= 1 << UInt8(index % 8)
            for bytes in [flipped, Array(object.prefix(index))] {
                do {
                    try open(bytes)
                    Issue.record("byte \(index) of \(name)")
                } catch {
                    // A flipped format version or key id is told as what it seems to be.
                    let expected: [ErrorCode] =
                        (4..<12).contains(index) ? [.corrupt, .unsupported, .denied] : [.corrupt]
                    #expect(expected.contains(error.storageCode))
                    #expect("\(error)".contains(name), "\(error)")
                }
            }
        }
        let longer = object + [0]
        #expect(throws: StorageError.self) { try open(longer) }
    }

    /// Payloads that were authenticated and make no sense (our own fault, or a stolen key's): no crash, no wild memory.
    @Test func ofPayloads() {
        var random = SplitMix64(seed: 11)
        let payloads: [([UInt8], ([UInt8]) throws -> Void)] = [
            (Fixed.manifest.encoded(), { _ = try Manifest(decoding: $0, object: "x") }),
            (Fixed.version.encoded(), { _ = try PinnedVersion(decoding: $0, object: "x") }),
            (
                Fixed.catalog.encoded(),
                { _ = try CatalogObject(decoding: $0, number: 9).version(on: CatalogVersion(), rows: [:]) }
            ),
        ]
        for (payload, open) in payloads {
            for length in payload.indices {
                #expect(throws: StorageError.self) { try open(Array(payload.prefix(length))) }
            }
            for _ in 0..<2000 {
                var bytes = payload
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
                }
                do { try open(bytes) } catch { #expect(error is StorageError) }
            }
        }
    }

    @Test func aSwappedObjectIsNotTakenForAnother() throws {
        let keys = KeyRing.generate()
        let manifest = try Fixed.manifest.sealed(with: keys)
        #expect(throws: StorageError.self) { try Manifest(opening: manifest, of: Fixed.volume, number: 6, keys: keys) }
        #expect(throws: StorageError.self) { try Manifest(opening: manifest, of: VolumeID(3), number: 5, keys: keys) }
        let catalog = try Fixed.catalog.sealed(with: keys)
        #expect(throws: StorageError.self) { try CatalogObject(opening: catalog, number: 8, keys: keys) }
    }

    @Test func aNewerLayoutIsRefusedAsSuch() async {
        var bytes = Fixed.manifest.encoded()
        bytes[0] = 2
        let error = await failure { _ = try Manifest(decoding: bytes, object: "m") }
        #expect(error?.code == .unsupported && error?.message.contains("newer zerofs") == true)
    }

    /// What a newer version appends to a row is carried along by an older one.
    @Test func unknownFieldsOfARowSurvive() async throws {
        let world = World()
        let log = world.catalog()
        var record = world.record("pg")
        record.extra = [9, 9, 9]
        try await log.create(record)
        let cold = world.catalog()
        let id = record.id
        try await cold.commit { try $0.rename(id, to: "pg2") }
        #expect(try await world.catalog().newest().volume(id)?.extra == [9, 9, 9])
    }

    @Test func aDamagedCatalogStopsEverything() async throws {
        let world = World()
        let log = world.catalog()
        for number in 0..<70 { try await log.create(world.record("v\(number)")) }
        let page = try #require(world.memory.keys.first { $0.text.hasPrefix("catalog-page/") })
        world.memory.corrupt(page, at: 50)
        let error = await failure { _ = try await world.catalog().newest() }
        #expect(error?.code == .corrupt && error?.message.contains(page.text) == true)
        world.memory.remove(page)
        let missing = await failure { _ = try await world.catalog().newest() }
        #expect(missing?.code == .corrupt && missing?.description.contains(page.text) == true)
        world.memory.replace("catalog/zzzz", [])
        #expect(await code { _ = try await world.catalog().objects.numbers() } == .corrupt)
    }
}
