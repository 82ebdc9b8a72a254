import Codec
import ObjectStorage
import StoreCore
import Testing

@testable import Snapshots

@Suite struct CatalogRules {
    let world = World()

    @Test func namesAreGivenOnce() async throws {
        let log = world.catalog()
        try await log.create(world.record("pg"))
        let error = await failure { try await log.create(world.record("pg")) }
        #expect(error?.code == .alreadyExists && error?.message.contains("'pg'") == true)
        #expect(await code { try await log.create(world.record("a/b")) } == .invalid)
        #expect(await code { try await log.create(world.record("a@b")) } == .invalid)
        #expect(try await world.catalog().newest().volumes.map(\.name) == ["pg"])
    }

    @Test func aRenameLeavesIdsSnapshotsAndBranchesInPlace() async throws {
        let log = world.catalog()
        let volume = world.record("pg")
        try await log.create(volume)
        let snapshot = world.snapshot("monday", of: volume.id)
        try await log.commit { try $0.addSnapshot(snapshot) }
        var branch = world.record("staging")
        branch.parent = Lineage(
            volume: volume.id, volumeName: "pg", snapshot: snapshot.id, snapshotName: "monday", time: snapshot.created)
        let entered = branch
        let bornAt = try await log.newest().number
        try await log.commit {
            try $0.addBranch(entered, of: .snapshot(snapshot.id, version: snapshot.version), bornAt: bornAt)
        }
        try await log.commit { try $0.rename(volume.id, to: "prod") }
        let state = try await world.catalog().newest()
        let found = try state.resolve(VolumeReference(parsing: "prod@monday"))
        #expect(found.volume.id == volume.id && found.snapshot?.id == snapshot.id)
        #expect(state.children(of: volume.id).map(\.name) == ["staging"])
        #expect(state.children(of: volume.id).first?.parent?.name == "pg@monday")
        #expect(await code { _ = try state.resolve(VolumeReference(parsing: "pg")) } == .notFound)
        #expect(await code { try await log.commit { try $0.rename(volume.id, to: "staging") } } == .alreadyExists)
        try await log.commit { try $0.rename(snapshot.id, to: "tuesday") }
        #expect(try await log.newest().snapshots(of: volume.id).map(\.name) == ["tuesday"])
    }

    /// A copy under other keys may have taken the version's place, and gc what that named.
    @Test func aBranchNamesTheVersionThatItCopies() async throws {
        let log = world.catalog()
        let volume = world.record("pg")
        try await log.create(volume)
        let snapshot = world.snapshot("monday", of: volume.id), other = world.snapshot("other", of: volume.id)
        try await log.commit { try $0.addSnapshot(snapshot) }
        let state = try await log.newest()
        try await log.commit {
            try $0.replaceVersion(of: snapshot.id, snapshot.version, with: other.version, seen: state.birthFloor)
        }
        let branch = world.record("branch")
        let error = await failure {
            try await log.commit {
                try $0.addBranch(branch, of: .snapshot(snapshot.id, version: snapshot.version), bornAt: state.number)
            }
        }
        #expect(error?.isBelowFloor == true)
    }

    /// Whoever lost the volume meanwhile wrote its copy under an epoch that gc has given up.
    @Test func aCopiedVersionLiesAboveTheFloor() async throws {
        let log = world.catalog()
        let volume = world.record("pg")
        try await log.create(volume)
        let snapshot = world.snapshot("monday", of: volume.id), other = world.snapshot("other", of: volume.id)
        try await log.commit { editor in
            try editor.addSnapshot(snapshot)
            editor.announceFloors([volume.id: VolumeFloor(manifest: 1, epoch: other.version.epoch.next)])
        }
        let state = try await log.newest()
        let error = await failure {
            try await log.commit {
                try $0.replaceVersion(of: snapshot.id, snapshot.version, with: other.version, seen: state.birthFloor)
            }
        }
        #expect(error?.isBelowFloor == true)
    }

    @Test func whatIsHeldStays() async throws {
        let log = world.catalog()
        let volume = world.record("pg")
        let snapshot = world.snapshot("monday", of: volume.id)
        try await log.create(volume)
        try await log.commit { editor in
            try editor.addSnapshot(snapshot)
            try editor.hold(.snapshot(snapshot.id), tag: "audit")
            try editor.hold(.snapshot(snapshot.id), tag: "audit")
        }
        let held = await failure { try await log.commit { try $0.removeSnapshot(snapshot.id) } }
        #expect(held?.code == .busy && held?.message.contains("'audit'") == true)
        #expect(await code { _ = try await log.commit { try $0.removeVolume(volume.id) } } == .busy)
        let forced = await failure { _ = try await log.commit { try $0.removeVolume(volume.id, force: true) } }
        #expect(forced?.message.contains("pg@monday") == true)
        try await log.commit { try $0.release(.snapshot(snapshot.id), tag: "audit") }
        try await log.commit { try $0.release(.snapshot(snapshot.id), tag: "audit") }
        try await log.commit { try $0.hold(.volume(volume.id), tag: "dba") }
        #expect(await code { _ = try await log.commit { try $0.removeVolume(volume.id, force: true) } } == .busy)
        try await log.commit { try $0.release(.volume(volume.id), tag: "dba") }
        let removed = try await log.commit { try $0.removeVolume(volume.id, force: true) }
        #expect(removed.map(\.id) == [snapshot.id])
        let state = try await world.catalog().newest()
        #expect(state.volumes.isEmpty && state.snapshots.isEmpty)
        #expect(state.deletedVolumes.map(\.name) == ["pg"])
    }

    @Test func anIdIsNeverGivenAgainAndANameIs() async throws {
        let log = world.catalog()
        let volume = world.record("pg")
        try await log.create(volume)
        try await log.commit { try $0.removeVolume(volume.id) }
        let again = await failure { try await log.create(volume) }
        #expect(again?.isBelowFloor == true)
        try await log.create(world.record("pg"))
        let gone = await failure { try await log.commit { try $0.rename(volume.id, to: "x") } }
        #expect(gone?.code == .notFound && gone?.message.contains("was deleted at") == true)
        try await log.commit { $0.forgetVolume(volume.id) }
        #expect(try await log.newest().deletedVolumes.isEmpty)
    }

    @Test func nothingIsPinnedBelowAFloor() async throws {
        let log = world.catalog()
        let volume = world.record("pg")
        try await log.create(volume)
        try await log.commit { $0.announceFloors([volume.id: VolumeFloor(manifest: 5, epoch: Epoch(2))]) }
        func refused(_ change: @escaping @Sendable (inout CatalogEditor) throws -> Void) async -> Bool {
            await failure { try await log.commit(change) }?.isBelowFloor == true
        }
        var snapshot = world.snapshot("monday", of: volume.id, fromManifest: 4)
        snapshot.version.epoch = Epoch(2)
        let low = snapshot
        #expect(await refused { try $0.addSnapshot(low) })
        snapshot.fromManifest = 5
        snapshot.version.epoch = Epoch(1)
        let stale = snapshot
        #expect(await refused { try $0.addSnapshot(stale) })
        snapshot.version.epoch = Epoch(2)
        let good = snapshot
        try await log.commit { try $0.addSnapshot(good) }

        let branch = world.record("branch")
        let now = try await log.newest().number
        let source = BranchSource.volume(volume.id, fromManifest: 5, epoch: Epoch(2))
        let tooLow = BranchSource.volume(volume.id, fromManifest: 4, epoch: Epoch(2))
        let tooStale = BranchSource.volume(volume.id, fromManifest: 5, epoch: Epoch(1))
        #expect(await refused { try $0.addBranch(branch, of: tooLow, bornAt: now) })
        #expect(await refused { try $0.addBranch(branch, of: tooStale, bornAt: now) })
        // gc listed the store, and found the branch's objects of unknown origin.
        try await log.commit { $0.announceFloors([:]) }
        #expect(await refused { try $0.addBranch(branch, of: source, bornAt: now) })
        let later = try await log.newest().number
        try await log.commit { try $0.addBranch(branch, of: source, bornAt: later) }
        // Floors only rise.
        try await log.commit { $0.announceFloors([volume.id: VolumeFloor(manifest: 1, epoch: Epoch(0))]) }
        #expect(try await log.newest().volume(volume.id)?.manifestFloor == 5)
    }

    @Test func aBranchOfWhatIsGoneIsRefused() async throws {
        let log = world.catalog()
        let volume = world.record("pg")
        try await log.create(volume)
        let snapshot = world.snapshot("monday", of: volume.id)
        try await log.commit { try $0.addSnapshot(snapshot) }
        try await log.commit { try $0.removeVolume(volume.id, force: true) }
        let branch = world.record("branch")
        let now = try await log.newest().number
        let live = BranchSource.volume(volume.id, fromManifest: 1, epoch: Epoch(1))
        for source in [BranchSource.snapshot(snapshot.id, version: snapshot.version), live] {
            #expect(
                await code { try await log.commit { try $0.addBranch(branch, of: source, bornAt: now) } } == .notFound)
        }
        let late = world.snapshot("late", of: volume.id)
        #expect(await code { try await log.commit { try $0.addSnapshot(late) } } == .notFound)
    }
}
