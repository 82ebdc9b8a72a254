import Codec
import StoreCore

@testable import Snapshots

extension Harness {
    static let catalogs: [Harness] = [
        Harness(
            name: "catalog",
            seeds: { [catalog.encoded(), CatalogVersion().encoded()] },
            body: { input in
                // The number that the object is found under is the one that it says, or nothing would be read.
                var reader = ByteReader(input.dropFirst(), object: "number")
                let number = try reader.varint()
                let object = try CatalogObject(decoding: input, number: number)
                let version = try object.version(on: CatalogVersion(), rows: [:])
                _ = version.mustFold
                let again = try CatalogObject(decoding: version.encoded(), number: number)
                require(
                    again.pages == object.pages && again.recentOperations == object.recentOperations
                        && again.catalogFloor == object.catalogFloor && again.birthFloor == object.birthFloor
                        && again.tail.map(\.id) == object.tail.map(\.id)
                        && again.tail.map(\.row) == object.tail.map(\.row),
                    "a catalog is written as it was read")
                for page in object.pages { _ = (page.key, page.region.shards, page.region.contains(number)) }
            }),
        Harness(
            name: "catalog-page",
            seeds: {
                let rows = catalog.state.rows(in: .all)
                let half = PageRegion.all.halves[0]
                return [
                    CatalogPage.encoded(rows, region: .all, number: 4),
                    CatalogPage.encoded(catalog.state.rows(in: half), region: half, number: 5),
                ]
            },
            body: { input in
                var reader = ByteReader(input.dropFirst(), object: "reference")
                let number = try reader.varint()
                let depth = try reader.byte()
                let region = PageRegion(prefix: try reader.littleEndian(), depth: depth)
                // Others are refused where a catalog names them.
                guard depth <= PageRegion.depthMax else { return }
                let reference = CatalogPageReference(region: region, number: number, hash: .zero, byteCount: 0)
                let rows = try CatalogPage.rows(decoding: input, as: reference)
                let again = CatalogPage.encoded(rows, region: region, number: number)
                require(
                    try CatalogPage.rows(decoding: again, as: reference) == rows, "a page is written as it was read")
            }),
    ]

    static let catalog: CatalogVersion = {
        var state = CatalogState()
        (state.number, state.created, state.catalogFloor, state.birthFloor) = (9, Fixtures.time, 2, 8)
        var pg = VolumeRecord(id: Fixtures.volume, name: "pg", created: Fixtures.time)
        (pg.manifestFloor, pg.epochFloor, pg.holds) = (3, Epoch(1), ["audit"])
        let lineage = Lineage(
            volume: Fixtures.volume, volumeName: "pg", snapshot: SnapshotID(5), snapshotName: "monday",
            time: Fixtures.time)
        let branch = VolumeRecord(id: VolumeID(8), name: "pg-staging", created: Fixtures.time, parent: lineage)
        let snapshot = SnapshotRecord(
            id: SnapshotID(5), volume: Fixtures.volume, name: "monday", created: Fixtures.time,
            version: VersionReference(volume: Fixtures.volume, epoch: Epoch(4), hash: Digest(high: 3, low: 4)),
            sizeBytes: 10 << 30, writtenBytes: 1 << 20, fromManifest: 5)
        let deleted = DeletedVolume(id: VolumeID(9), name: "old", deleted: Fixtures.time, catalogNumber: 6)
        let rows: [CatalogRow] = [.volume(pg), .volume(branch), .snapshot(snapshot), .deleted(deleted)]
        for row in rows { require(state.put(row), "no name is there twice") }
        let page = CatalogPageReference(
            region: PageRegion.all.halves[1], number: 4, hash: Digest(high: 5, low: 6), byteCount: 1000)
        return CatalogVersion(
            state: state, pages: [.empty(PageRegion.all.halves[0]), page],
            tail: Set(rows.map(\.id) + [.snapshot(SnapshotID(6))]), recentOperations: [Fixtures.operation])
    }()
}
