import ObjectStorage
import SegmentLog
import Snapshots
import StoreCore
import Testing

@testable import Cleaner

/// Writers, snapshots and branches at every moment of a pass.
@Suite struct TheEngineGoesOnMeanwhile {
    private struct Setting {
        var world: World
        var volume: TestVolume
        /// On its way since before the pass, with what it must read as.
        var pending: (record: SnapshotRecord, contents: Contents)
    }
    private func setting() async throws -> Setting {
        let world = World()
        world.options.policy.packedBytesTarget = 64 << 10
        let volume = try await TestVolume.make(world, "a", blocks: 64)
        for end in [UInt64(64), 60, 52] {
            try await volume.write(0..<end, recordBlocks: 2)
            try await volume.checkpoint()
            if end == 64 { try await volume.snapshot("s") }
        }
        try await volume.write([7, 8, 30])
        return Setting(world: world, volume: volume, pending: (try await volume.captured("pending"), volume.contents))
    }

    /// The same at every request of the pass, until there is none any more.
    @Test func whatWasPinnedIsThereAndWhatCannotBePinnedIsRefused() async throws {
        var stop = 0
        var refusals = 0
        var successes = 0
        while true {
            let setting = try await setting()
            let (world, volume) = (setting.world, setting.volume)
            nonisolated(unsafe) let meanwhile = volume
            let moment = stop
            let pass = FaultStore(world.memory) { request in
                if request.number == moment { try await meanwhile.goOn() }
                return nil
            }
            let requests = TracingStore(pass)
            _ = try await world.collector(through: requests).collect()
            if requests.requests().count <= stop { break }
            do {
                let (record, contents) = setting.pending
                try await world.catalog.commit { try $0.addSnapshot(record) }
                world.expected["a@pending"] = contents
                successes += 1
            } catch  where error.isBelowFloor {
                refusals += 1
            }
            try await world.check("gone on at \(stop)")
            let now = try await volume.captured("later")
            try await world.catalog.commit { try $0.addSnapshot(now) }
            world.expected["a@later"] = volume.contents
            try await world.gc()
            try await world.check("after going on at \(stop)")
            stop += 1
        }
        #expect(stop > 35 && refusals > 0 && successes > 0, "\(stop) \(refusals) \(successes)")
    }

    @Test func aVolumeWhoseMakingWasOvertakenIsRefusedAndGoes() async throws {
        let world = World()
        let volume = try await TestVolume.make(world, "a", blocks: 64)
        try await volume.write(0..<8)
        try await volume.checkpoint()
        let bornAt = try await world.catalog.newest().number
        let record = VolumeRecord(id: .random(), name: "late", created: world.time.now())
        let manifests = ManifestLog(volume: record.id, store: world.memory, keys: world.keys, time: world.time)
        _ = try await manifests.create(volume.manifest.state.startingNewVolume())
        try await world.gc()
        #expect(try await manifests.objects.newestNumber() == nil)
        await #expect { try await world.catalog.commit { try $0.createVolume(record, bornAt: bornAt) } } throws: {
            $0.isBelowFloor
        }
        try await world.check()
    }

    /// A run that a branch took over, and gave up, may still be on its way into its ancestor's manifest.
    @Test func whatABranchGaveUpMayStillComeIntoItsAncestor() async throws {
        let world = World()
        let volume = try await TestVolume.make(world, "a", blocks: 64)
        try await volume.write(0..<16)
        let (branch, checkpoint) = try await volume.branchBeforeCheckpoint("b")
        try await branch.write(0..<16)
        try await branch.checkpoint()
        try await branch.compact()
        try await world.gc()
        try await volume.checkpoint(checkpoint)
        try await world.check("after the checkpoint")
        try await branch.delete()
        try await volume.write(0..<16)
        try await volume.checkpoint()
        try await volume.compact()
        try await world.gc()
        try await world.gc()
        try await world.check()
        try await world.checkNothingElseIsLeft()
    }

    @Test func aTailAndAnOpenEpochAreNeverTouched() async throws {
        let world = World()
        let volume = try await TestVolume.make(world, "a", blocks: 64)
        try await volume.write(0..<8)
        try await volume.checkpoint()
        for _ in 0..<4 { try await volume.write(0..<8) }
        try await world.gc()
        #expect(world.count("segment") == 5)
        try await world.check()
        let next = try await volume.reopened()
        try await world.gc()
        try await world.check("after the next opening")
        try await next.checkpoint()
        try await next.compact()
        try await world.gc()
        // The last segment, and the fence of the first epoch.
        #expect(world.count("segment") == 2)
        try await world.check("after its checkpoint")
    }

    @Test func aDryRunWritesNothingAndTellsWhatWouldGo() async throws {
        let setting = try await setting()
        let before = setting.world.memory.snapshotOfObjects()
        let report = try await setting.world.gc(dryRun: true)
        #expect(setting.world.memory.snapshotOfObjects() == before)
        #expect(report.dryRun && report.objectsDeleted > 0 && report.bytesDeleted > 0 && report.segmentsRepacked > 0)
        let real = try await setting.world.gc()
        #expect(real.segmentsRepacked == report.segmentsRepacked)
        #expect(real.objectsDeleted == report.objectsDeleted)
    }

    @Test func foreignObjectsAreLeftAloneAndCounted() async throws {
        let setting = try await setting()
        for key in ["other/thing", "volumes/readme", "zzz", "packed/x/y"] {
            _ = try await setting.world.memory.create(ObjectKey(key), [1])
        }
        let report = try await setting.world.gc()
        #expect(report.objectsUnknown == 4)
        #expect(setting.world.count("unknown") == 4)
    }
}

extension TestVolume {
    fileprivate func goOn() async throws {
        try await write([1, 2, 40])
        try await checkpoint()
        try await snapshot("now")
        try await compact()
        try await write([9])
        _ = try await branch("b", ofSnapshot: "s")
        _ = try await branch("c")
        try await removeSnapshot("now")
    }
}
