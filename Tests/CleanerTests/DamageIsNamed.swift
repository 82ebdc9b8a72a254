import BlockMap
import ObjectStorage
import SegmentLog
import Snapshots
import StoreCore
import Testing

@testable import Cleaner

@Suite struct DamageIsNamed {
    private func verifier(_ world: World) -> StoreVerifier {
        StoreVerifier(
            store: world.memory, keys: world.keys,
            catalog: CatalogLog(store: world.memory, keys: world.keys, time: world.time), maps: world.maps(),
            time: world.time)
    }
    /// `a` with a snapshot, a branch, a log tail, and a history of repacking.
    private func world() async throws -> World {
        let world = World()
        let volume = try await TestVolume.make(world, "a", blocks: 256)
        for round in UInt64(0)..<4 {
            try await volume.write(stride(from: round, to: 128, by: 2))
            try await volume.checkpoint()
        }
        try await volume.snapshot("s")
        let branch = try await volume.branch("b", ofSnapshot: "s")
        try await branch.write(0..<10)
        try await branch.checkpoint()
        try await volume.write(0..<30)
        try await volume.checkpoint()
        try await world.gc()
        try await volume.write([200, 201])
        return world
    }

    @Test(arguments: [false, true]) func aSoundStoreHasNone(deep: Bool) async throws {
        let world = try await world()
        #expect(world.count("packed-segment") > 0 && world.count("relocation") > 0)
        let report = try await verifier(world).verify(deep: deep)
        #expect(report.isSound, "\(report.damaged)")
        #expect(report.objectsChecked > 10 && report.bytesChecked > 0)
        let one = try await verifier(world).verify(VolumeReference(volume: "a", snapshot: "s"), deep: deep)
        #expect(one.isSound && one.objectsChecked < report.objectsChecked)
        await #expect(throws: StorageError.self) { try await verifier(world).verify(VolumeReference(volume: "x")) }
    }

    @Test func aMissingSegmentWithTheBlocksThatItHeld() async throws {
        let world = World()
        let volume = try await TestVolume.make(world, "a", blocks: 256)
        try await volume.write(0..<16)
        try await volume.write(16..<32)
        try await volume.checkpoint()
        try await volume.snapshot("s")
        let id = SegmentID.log(volume: volume.id, epoch: Epoch(1), sequence: SegmentSequence(2))
        world.memory.remove(id.key)
        let report = try await verifier(world).verify()
        #expect(report.damaged.map(\.object) == [id.key.text])
        let affected = try #require(report.damaged.first?.affected)
        #expect(Set(affected.map(\.name)) == ["a", "a@s"])
        for affected in affected {
            #expect(affected.ranges == [VerifyReport.ByteSpan(firstByte: 16 * 4096, byteCount: 16 * 4096)])
        }
    }

    @Test func aFlippedBitWithTheBlocksOfItsRecord() async throws {
        let world = World()
        let volume = try await TestVolume.make(world, "a", blocks: 256)
        try await volume.write(0..<32, recordBlocks: 4)
        try await volume.checkpoint()
        let id = SegmentID.log(volume: volume.id, epoch: Epoch(1), sequence: SegmentSequence(1))
        // The third record.
        world.memory.corrupt(id.key, at: 32 + 2 * (4 * 4096 + 16) + 100)
        #expect(try await verifier(world).verify().isSound)
        let report = try await verifier(world).verify(deep: true)
        #expect(report.damaged.count == 1)
        #expect(report.damaged.first?.object == id.key.text)
        #expect(report.damaged.first?.affected.first?.ranges == [.init(firstByte: 8 * 4096, byteCount: 4 * 4096)])
    }

    @Test(arguments: [false, true]) func aRunWithTheBlocksThatItMaps(lost: Bool) async throws {
        let world = World()
        let volume = try await TestVolume.make(world, "a", blocks: 256)
        try await volume.write(16..<48)
        try await volume.checkpoint()
        try await volume.snapshot("s")
        let key = try #require(world.memory.keys.first { ObjectName($0).kind == "run" })
        if lost { world.memory.remove(key) } else { world.memory.corrupt(key, at: 40) }
        let report = try await verifier(world).verify()
        #expect(report.damaged.map(\.object) == [key.text])
        let affected = try #require(report.damaged.first?.affected)
        #expect(Set(affected.map(\.name)) == ["a", "a@s"])
        let mapped = VerifyReport.ByteSpan(firstByte: 16 * 4096, byteCount: 32 * 4096)
        for affected in affected { #expect(affected.ranges == [mapped]) }
    }

    /// Whatever was moved and whoever shares it: what the report says cannot be read is what cannot be read. Of a run
    /// it is all that the run maps, also where something newer hides it.
    @Test(arguments: ["run", "packed-segment", "relocation"], [false, true])
    func withAllThatCannotBeReadAndNothingElse(kind: String, lost: Bool) async throws {
        let start = try await world()
        #expect(try await start.unreadableBlocks().isEmpty)
        var affected: Set<String> = []
        for key in start.memory.keys where ObjectName(key).kind == kind {
            let world = start.copy()
            if lost { world.memory.remove(key) } else { world.memory.corrupt(key, at: 40) }
            let report = try await verifier(world).verify(deep: true)
            let unreadable = try await world.unreadableBlocks()
            if kind == "run" {
                for (name, blocks) in unreadable { #expect(blocks.isSubset(of: report.blocks[name] ?? []), "\(key)") }
            } else {
                #expect(report.blocks == unreadable, "\(key)")
            }
            affected.formUnion(unreadable.keys)
            // The object itself is named with them; of a record that is lost nobody knows but what it spoke of.
            guard !unreadable.isEmpty, kind != "relocation" || !lost else { continue }
            let named = report.damaged.filter { !$0.affected.flatMap(\.ranges).isEmpty }
            #expect(named.map(\.object) == [key.text], "\(key)")
        }
        #expect(affected.contains("a@s") && (kind != "run" || affected == ["a", "a@s", "b"]))
    }

    /// Every object in turn, lost or damaged: it is named, and the rest is looked at nevertheless.
    @Test(arguments: [false, true]) func everyObjectThatIsNeeded(lost: Bool) async throws {
        let start = try await world()
        for key in start.memory.keys {
            let name = ObjectName(key)
            let world = start.copy()
            if lost { world.memory.remove(key) } else { world.memory.corrupt(key, at: 40) }
            let report = try await verifier(world).verify(deep: true)
            switch name {
            case .catalog, .generation, .superblock: continue
            case .segment(.log) where lost && report.isSound:
                // The last of an open log: nothing tells that it ever was.
                continue
            case .relocation where lost:
                // Nobody knows of it; but its victim is gone.
                #expect(report.damaged.contains { $0.problem == "it is missing" }, "\(name)")
            default:
                #expect(!report.isSound, "\(name)")
                #expect(
                    report.damaged.contains {
                        $0.object.hasPrefix(key.text.prefix(40)) || $0.problem.contains(key.text)
                    }, "\(name): \(report.damaged)")
            }
        }
    }

    @Test(arguments: ["manifest", "version", "run", "relocation", "generation", "catalog"])
    func aDamagedRootStopsGCBeforeItDeletes(kind: String) async throws {
        let start = try await world()
        for key in start.memory.keys where ObjectName(key).kind == kind {
            for lost in [false, true] {
                let world = start.copy()
                if lost { world.memory.remove(key) } else { world.memory.corrupt(key, at: 60) }
                let isNewest = kind != "catalog" || key == start.memory.keys.first { ObjectName($0).kind == kind }
                if kind == "catalog", lost || !isNewest { continue }
                if kind == "generation", lost { continue }
                let before = world.memory.keys
                await #expect(throws: StorageError.self, "\(key) \(lost)") { try await world.gc() }
                let gone = Set(before).subtracting(world.memory.keys)
                #expect(gone.isEmpty || gone == (lost ? [key] : []), "\(key)")
            }
        }
    }
}

@Suite struct ALostCatalogIsNoEmptyStore {
    @Test func gcRefuses() async throws {
        let world = World()
        let volume = try await TestVolume.make(world, "a", blocks: 64)
        try await volume.write(0..<8)
        try await volume.checkpoint()
        for key in world.memory.keys where key.text.hasPrefix("catalog/") { world.memory.remove(key) }
        let before = world.memory.snapshotOfObjects()
        await #expect { try await world.gc() } throws: { $0.storageCode == .corrupt }
        #expect(world.memory.snapshotOfObjects() == before)
        let empty = World()
        #expect(try await empty.gc().objectsDeleted == 0)
    }
}

@Suite struct UsageIsSurveyed {
    @Test func uniqueBytesAreThoseThatNobodyElseRefersTo() async throws {
        let world = World()
        let volume = try await TestVolume.make(world, "a", blocks: 256)
        try await volume.write(0..<32)
        try await volume.checkpoint()
        let snapshot = try await volume.snapshot("s")
        let before = try await survey(world)
        #expect(before[.volume(volume.id)]?.uniqueBytes == 0)
        #expect(before[.snapshot(snapshot.id)]?.uniqueBytes == 0)
        try await volume.write(0..<32)
        try await volume.checkpoint()
        try await volume.compact()
        let after = try await survey(world)
        let bytes = world.segmentBytes() / 2
        #expect(after[.volume(volume.id)]?.uniqueBytes == bytes && after[.snapshot(snapshot.id)]?.uniqueBytes == bytes)
        #expect(after[.volume(volume.id)]?.segmentCount == 1)
        #expect(after[.volume(volume.id)]?.writtenBytes == 8 * (4 * 4096 + 16))
    }
    private func survey(_ world: World) async throws -> [UsageRoot: Usage] {
        try await UsageSurvey(store: world.memory, keys: world.keys, maps: world.maps(), time: world.time)
            .survey(try await world.catalog.newest())
    }
}

extension VerifyReport {
    /// What cannot be read, by volume or snapshot.
    fileprivate var blocks: [String: Set<UInt64>] {
        var blocks: [String: Set<UInt64>] = [:]
        for affected in damaged.flatMap(\.affected) {
            for range in affected.ranges {
                let first = range.firstByte / 4096
                blocks[affected.name, default: []].formUnion(first..<first + range.byteCount / 4096)
            }
        }
        return blocks
    }
}
