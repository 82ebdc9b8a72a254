import Codec
import ObjectStorage
import StoreCore
import Testing

@testable import Snapshots

@Suite struct CatalogGrows {
    /// 5,000 volumes in groups; returns the log that made them.
    private func filled(_ world: World, through store: any ObjectStore, volumes: Int) async throws -> CatalogLog {
        let log = world.catalog(through: store)
        for start in stride(from: 0, to: volumes, by: 50) {
            let records = (start..<min(start + 50, volumes)).map { world.record("volume-\($0)") }
            try await log.commit { editor in
                for record in records { try editor.createVolume(record, bornAt: .max) }
            }
        }
        return log
    }
    private func same(_ a: CatalogState, _ b: CatalogState) -> Bool {
        a.number == b.number && a.volumes == b.volumes && a.snapshots == b.snapshots
            && a.deletedVolumes == b.deletedVolumes && a.catalogFloor == b.catalogFloor && a.birthFloor == b.birthFloor
    }

    @Test func aSmallCatalogIsOneObject() async throws {
        let world = World()
        let log = world.catalog()
        for number in 0..<64 { try await log.create(world.record("v\(number)")) }
        #expect(world.memory.keys.allSatisfy { $0.text.hasPrefix("catalog/") })
        try await log.create(world.record("one-more"))
        #expect(world.memory.keys.count { $0.text.hasPrefix("catalog-page/") } == 1)
        #expect(try await world.catalog().newest().volumeCount == 65)
    }

    @Test func commitsStaySmallWithThousandsOfVolumes() async throws {
        let world = World()
        let trace = Trace(world.memory)
        let log = try await filled(world, through: trace.store, volumes: 5_000)
        let before = try await log.newest()
        let version = try #require(log.log.lastSeen)
        #expect(version.pages.count >= 4, "pages were split")
        #expect(PageRegion.coverAll(version.pages.map(\.region)))

        let volumes = before.volumes
        var largest = 0, total = 0
        for number in 0..<130 {
            trace.reset()
            try await log.commit { try $0.addSnapshot(world.snapshot("s\(number)", of: volumes[number].id)) }
            #expect(trace.kinds.last == .list)
            total += trace.createdBytes
            largest = max(largest, trace.createdBytes)
        }
        let whole = version.pages.reduce(0) { $0 + Int($1.byteCount) }
        #expect(total / 130 < 64 << 10, "\(total / 130) bytes per commit on average, pages of \(whole)")
        #expect(largest < 2 << 20)

        let cold = try await world.catalog().newest()
        let warm = try await log.newest()
        #expect(same(cold, warm))
        #expect(cold.volumeCount == 5_000 && cold.snapshotCount == 130)
        #expect(cold.volume(named: "volume-4999")?.name == "volume-4999")
    }

    /// A reader that follows number by number, one that jumps over folds, and one that starts cold see the same.
    @Test(arguments: [UInt64(1), 2, 3])
    func everyReaderSeesTheSame(_ seed: UInt64) async throws {
        var random = SplitMix64(seed: seed)
        let world = World()
        let writers = [world.catalog(), world.catalog()]
        let close = world.catalog(), far = world.catalog()
        var model: [String: VolumeID] = [:]
        for step in 0..<160 {
            let writer = writers[Int.random(in: 0..<2, using: &random)]
            let known = model.sorted { $0.key < $1.key }
            let pick = known.randomElement(using: &random)
            switch (Int.random(in: 0..<6, using: &random), pick) {
            case (0, let (name, id)?):
                try await writer.commit { _ = try $0.removeVolume(id, force: true) }
                model[name] = nil
            case (1, let (name, id)?):
                try await writer.commit { try $0.rename(id, to: "renamed-\(step)") }
                model[name] = nil
                model["renamed-\(step)"] = id
            case (2, let (_, id)?):
                try await writer.commit { try $0.addSnapshot(world.snapshot("s\(step)", of: id)) }
            case (3, let (name, id)?):
                // A name moves from one volume to another within one commit.
                let other = world.record(name)
                try await writer.commit { editor in
                    try editor.rename(id, to: "moved-\(step)")
                    try editor.createVolume(other, bornAt: .max)
                }
                model["moved-\(step)"] = id
                model[name] = other.id
            default:
                let records = (0..<10).map { world.record("v-\(step)-\($0)") }
                try await writer.commit { editor in
                    for record in records { try editor.createVolume(record, bornAt: .max) }
                }
                for record in records { model[record.name] = record.id }
            }
            let followed = try await close.newest()
            #expect(followed.volumeCount == model.count)
            if step % 40 == 39 {
                let cold = try await world.catalog().newest()
                let jumped = try await far.newest()
                #expect(same(cold, followed) && same(cold, jumped), "seed \(seed), step \(step)")
                #expect(Dictionary(uniqueKeysWithValues: cold.volumes.map { ($0.name, $0.id) }) == model)
                for volume in cold.volumes { #expect(cold.snapshots(of: volume.id) == jumped.snapshots(of: volume.id)) }
            }
        }
        #expect(try await world.catalog().log.newest()?.pages.isEmpty == false)
    }

    /// gc's part: what it may delete of the catalog's own objects, and that nobody misses it.
    @Test func numbersAndPagesBelowTheFloorCanGo() async throws {
        let world = World()
        let log = try await filled(world, through: world.memory, volumes: 1_000)
        for number in 0..<120 { try await log.create(world.record("late-\(number)")) }
        // A page that lost its race.
        let orphan = try CatalogPage.seal([1], region: .all, number: 7, keys: world.keys)
        _ = try await world.memory.create(orphan.reference.key, orphan.bytes)
        let behind = world.catalog()
        let before = try await behind.newest()

        try await log.commit { $0.announceFloors([:]) }
        let floor = try await log.newest().catalogFloor
        #expect(floor == before.number + 1 - CatalogEditor.catalogNumbersKept)
        let (pages, upTo) = try await log.keptPages(from: floor)
        let old = try await log.objects.numbers().filter { $0 < floor }
        let dead = world.memory.keys.filter { key in
            let parts = key.text.split(separator: "/")
            guard parts[0] == "catalog-page", let number = UInt64(parts[1], radix: 16) else { return false }
            return number <= upTo && !pages.contains(key)
        }
        #expect(dead.contains(orphan.reference.key) && !old.isEmpty && dead.count > 1)
        try await world.memory.delete(old.map(log.objects.key) + dead)

        #expect(same(try await world.catalog().newest(), try await log.newest()))
        try await behind.create(world.record("after"))
        #expect(try await world.catalog().newest().volumeCount == 1_121)
    }

    /// A page that gc took while a reader was on its way to it: the reader starts from the newer number.
    @Test func aReaderThatFindsAPageGoneLooksAgain() async throws {
        let world = World()
        let log = try await filled(world, through: world.memory, volumes: 300)
        let old = try #require(log.log.lastSeen)
        let faults = FaultStore(world.memory)
        let gets = Counter()
        faults.arm { request in
            guard request.kind == .get, gets.add() == 2 else { return nil }
            _ = try await filled(world, through: world.memory, volumes: 0)
            for number in 0..<70 { try await log.create(world.record("more-\(number)")) }
            try await world.memory.delete(old.pages.map(\.key))
            return nil
        }
        #expect(try await world.catalog(through: faults).newest().volumeCount == 370)
        #expect(old.pages.count == 1)
    }
}
