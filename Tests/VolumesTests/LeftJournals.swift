import Cleaner
import ObjectStorage
import Snapshots
import StoreCore
import Synchronization
import Testing
import Volumes

/// What a writer had answered when it lost its volume can be brought back.
@Suite struct ALosersJournalComesBack {
    /// The first host wrote 1, flushed, and 2, not flushed; the second took over and wrote 3.
    ///
    /// - Parameter overwriting: before that it flushed what 1 then replaced: a segment of its own that nothing needs.
    private func takenOver(
        keeping: Bool = false, overwriting: Bool = false, in store: any ObjectStore = MemoryStore()
    ) async throws -> (first: TestBed, second: TestBed) {
        let first = try await TestBed(store: store)
        let second = try await TestBed(sharing: first)
        second.settings.takeOver = ["v"]
        second.settings.snapshotsTakeOvers = keeping
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        let device = try await one.attach("v")
        if overwriting { try await device.write(pattern(8, count: 4096), at: 0, fua: true) }
        try await device.write(pattern(1, count: 4096), at: 0, fua: true)
        try await device.write(pattern(2, count: 4096), at: 4096)
        try await device.writeZeroes(at: 0, count: 512, fua: false)
        await one.abandon()
        let taken = try await two.attach("v")
        try await taken.write(pattern(3, count: 4096), at: 4096, fua: true)
        try await taken.write(pattern(3, count: 4096), at: 8192, fua: true)
        try await two.close()
        return (first, second)
    }
    private func expectBranch(_ engine: Engine, _ name: String) async throws {
        let device = try await engine.attach(name)
        let zeroed = [UInt8](repeating: 0, count: 512) + pattern(1, count: 4096)[512...]
        #expect(try await device.bytes(at: 0, count: 4096) == zeroed)
        #expect(try await device.bytes(at: 4096, count: 4096) == pattern(2, count: 4096))
        #expect(try await device.bytes(at: 8192, count: 4096) == [UInt8](repeating: 0, count: 4096))
        await engine.detach(device)
    }

    @Test func asABranchOfTheStateThatItGoesOnFrom() async throws {
        let (first, _) = try await takenOver()
        let engine = try await first.open()
        let held = try await engine.attach("v")
        #expect(try await held.bytes(at: 4096, count: 4096) == pattern(3, count: 4096))
        #expect(first.events.count(.journalKept) == 1)
        let journal = try #require(try await engine.journals().first)
        #expect(journal.volume == "v" && journal.isComplete)
        #expect(journal.writes == 3 && journal.writesMissing == 2)
        #expect(journal.bytesMissing == 8192)
        _ = try await engine.branch(fromJournal: journal.id, to: "back")
        try await expectBranch(engine, "back")
        // Again under another name; the journal stays until it is dropped.
        _ = try await engine.branch(fromJournal: String(journal.id.prefix(6)), to: "again")
        try await expectBranch(engine, "again")
        await #expect { _ = try await engine.branch(fromJournal: journal.id, to: "back") } throws: {
            ($0 as? StorageError)?.code == .alreadyExists
        }
        await #expect(throws: StorageError.self) { try await engine.dropJournal(journal.id, force: false) }
        _ = try await engine.dropJournal(journal.id, force: true)
        #expect(try await engine.journals().isEmpty)
        #expect(try await engine.verify(nil, deep: true) { _ in }.damaged.isEmpty)
        try await engine.close()
    }

    @Test func evenAfterGCWhereTheTakeOverWasSnapshotted() async throws {
        let (first, second) = try await takenOver(keeping: true)
        let two = try await second.open()
        _ = try await two.collectGarbage(dryRun: false) { _ in }
        try await two.close()
        let engine = try await first.open()
        let journal = try #require(try await engine.journals().first)
        #expect(journal.writesMissing == 2)
        _ = try await engine.branch(fromJournal: journal.id, to: "back")
        try await expectBranch(engine, "back")
        try await engine.close()
    }

    /// What gc deletes as it is read is no damage: the snapshot is there.
    @Test func evenWhereGCPassesByMeanwhile() async throws {
        let memory = MemoryStore()
        let faults = FaultStore(memory)
        let (first, second) = try await takenOver(keeping: true, overwriting: true, in: faults)
        let two = try await second.open()
        let engine = try await first.open()
        let journal = try #require(try await engine.journals().first)
        let segment = try #require(memory.keys.first { $0.text.contains("/log/") })
        let hasPassed = Mutex(false)
        faults.arm { request in
            guard request.kind == .list, request.prefix?.contains("/log/") == true,
                !hasPassed.withLock({ exchange(&$0, with: true) })
            else { return nil }
            _ = try await two.collectGarbage(dryRun: false) { _ in }
            return nil
        }
        _ = try await engine.branch(fromJournal: journal.id, to: "back")
        #expect(try await memory.head(segment) == nil)
        try await expectBranch(engine, "back")
        try await engine.close()
        try await two.close()
    }

    /// One journal hides no others.
    @Test(arguments: [true, false])
    func orItIsListedWhereTheSnapshotIsGone(isDeleted: Bool) async throws {
        let memory = MemoryStore()
        let faults = FaultStore(memory)
        let (first, second) = try await takenOver(keeping: true, in: faults)
        let two = try await second.open()
        _ = try await two.collectGarbage(dryRun: false) { _ in }
        let snapshot = try #require(try await two.list().first { $0.kind == .snapshot })
        let engine = try await first.open()
        let hasGone = Mutex(false)
        faults.arm { request in
            guard request.kind == .get, let key = request.key, key.text.contains("/version/"),
                !hasGone.withLock({ exchange(&$0, with: true) })
            else { return nil }
            if isDeleted { _ = try await two.delete(try VolumeReference(parsing: snapshot.name), force: false) }
            memory.remove(key)
            return nil
        }
        let journal = try #require(try await engine.journals().first)
        #expect(hasGone.withLock { $0 } && journal.writes == 3 && journal.writesMissing == nil)
        faults.disarm()
        try await engine.close()
        try await two.close()
    }

    @Test func orItIsSaidThatItsPlaceIsGone() async throws {
        let (first, second) = try await takenOver()
        let two = try await second.open()
        _ = try await two.collectGarbage(dryRun: false) { _ in }
        try await two.close()
        let engine = try await first.open()
        let journal = try #require(try await engine.journals().first)
        #expect(journal.writesMissing == nil)
        await #expect { _ = try await engine.branch(fromJournal: journal.id, to: "back") } throws: {
            ($0 as? StorageError)?.code == .notFound
        }
        #expect(try await engine.list().map(\.name) == ["v"])
        try await engine.close()
    }

    /// A rival has claimed the volume and not fenced it, and may never come to that.
    @Test func orItIsListedThoughItsPlaceIsNotKnownYet() async throws {
        let bed = try await TestBed()
        let one = try await bed.open()
        let made = try await one.create("v", sizeBytes: 1 << 20)
        try await one.attach("v").write(pattern(1, count: 4096), at: 0)
        await one.abandon()
        let keys = try await SuperblockLog(store: bed.store, workers: bed.machine.workers).open(bed.unlock).keys
        let manifests = ManifestLog(
            volume: try #require(VolumeID(hex: made.id)), store: bed.store, keys: keys, time: bed.machine.time)
        _ = try await manifests.claim(token: .random(), host: "rival", takeOver: true)
        let engine = try await bed.open()
        let journal = try #require(try await engine.journals().first)
        #expect(journal.writes == 1 && journal.writesMissing == nil && journal.owner == "rival")
        await #expect { _ = try await engine.branch(fromJournal: journal.id, to: "back") } throws: {
            ($0 as? StorageError)?.code == .busy
        }
        try await engine.close()
    }

    /// Which keeps neither the volume from being served nor the journal from being removed.
    @Test func orItIsListedAsUnreadableWhereItsKeyWasRetiredElsewhere() async throws {
        let (first, second) = try await takenOver()
        let two = try await second.open()
        #expect(try await two.rotateKeys(rewrite: true) { _ in }.rewrite?.retired == [1])
        try await two.close()
        let engine = try await first.open()
        let held = try await engine.attach("v")
        #expect(try await held.bytes(at: 4096, count: 4096) == pattern(3, count: 4096))
        let journal = try #require(try await engine.journals().first)
        #expect(!journal.isComplete && journal.writes == 0 && journal.writesMissing == nil && journal.diskBytes > 0)
        await #expect { _ = try await engine.branch(fromJournal: journal.id, to: "back") } throws: {
            [.denied, .notFound].contains($0.storageCode)
        }
        _ = try await engine.dropJournal(journal.id, force: true)
        #expect(try await engine.journals().isEmpty)
        try await engine.close()
    }

    /// After a rollback the volume of the next epoch may show what was never before the journal's writes.
    @Test func neitherASnapshotOfARolledBackVolumeTakesItsPlace() async throws {
        let first = try await TestBed()
        let second = try await TestBed(sharing: first)
        second.settings.takeOver = ["v"]
        second.settings.snapshotsTakeOvers = false
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        let device = try await one.attach("v")
        try await device.write(pattern(9, count: 4096), at: 8192)
        _ = try await one.snapshot("v", name: "old")
        try await device.write(pattern(1, count: 4096), at: 0, fua: true)
        try await device.write(pattern(2, count: 4096), at: 4096)
        await one.abandon()
        await two.detach(try await two.attach("v"))
        let rollback = try await two.rollback(VolumeReference(volume: "v", snapshot: "old"), force: true)
        _ = try await two.snapshot("v", name: "now")
        _ = try await two.delete(try VolumeReference(parsing: rollback.safetySnapshot), force: false)
        await two.detach(try await two.attach("v"))
        try await two.close()
        let later = try await second.open()
        _ = try await later.collectGarbage(dryRun: false) { _ in }
        try await later.close()
        let engine = try await first.open()
        let journal = try #require(try await engine.journals().first)
        #expect(journal.writesMissing == nil)
        await #expect { _ = try await engine.branch(fromJournal: journal.id, to: "back") } throws: {
            ($0 as? StorageError)?.code == .notFound
        }
        // Nor can one be given that name, at once or later.
        _ = try await engine.snapshot("v", name: "other")
        await #expect {
            _ = try await engine.rename(
                VolumeReference(volume: "v", snapshot: "other"), to: "take-over-\(journal.id)-x")
        } throws: {
            ($0 as? StorageError)?.code == .invalid
        }
        await #expect { _ = try await engine.snapshot("v", name: "take-over-\(journal.id)-x") } throws: {
            ($0 as? StorageError)?.code == .invalid
        }
        try await engine.close()
    }

    @Test func anOwnersJournalIsNotLeftOver() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        try await engine.attach("v").write(pattern(1, count: 4096), at: 0)
        #expect(try await engine.journals().isEmpty)
        await engine.abandon()
        let again = try await bed.open()
        #expect(try await again.journals().isEmpty)
        try await again.close()
    }
}
