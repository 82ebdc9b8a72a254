import Cleaner
import Journal
import ObjectStorage
import StoreCore
import Synchronization
import Testing
import Volumes

@Suite struct Deletion {
    @Test func aDeletedVolumeIsGoneAndItsWriterIsShutOut() async throws {
        let first = try await TestBed()
        let second = try await TestBed(sharing: first)
        second.settings.takeOver = ["v"]
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        let stale = try await one.attach("v")
        try await stale.write(pattern(1, count: 4096), at: 0, fua: true)
        #expect(try await two.delete(VolumeReference(volume: "v"), force: false).names == ["v"])
        #expect(try await two.list().isEmpty)
        try await stale.write(pattern(2, count: 4096), at: 0)
        await #expect { try await stale.flush() } throws: { ($0 as? StorageError)?.code == .fenced }
        try await two.close()
        await one.abandon()
    }

    @Test func aRefusedDeletionKeepsWhatTheJournalHolds() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        try await engine.hold(VolumeReference(volume: "v"), tag: "keep")
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 4096), at: 0)
        await engine.abandon()

        let again = try await bed.open()
        await #expect { try await again.delete(VolumeReference(volume: "v"), force: true) } throws: {
            ($0 as? StorageError)?.code == .busy
        }
        #expect(try await again.attach("v").bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await again.close()
    }

    /// It took so long that it seemed broken off.
    @Test func aDeletionThatAGCFinishedIsDone() async throws {
        let memory = MemoryStore()
        let second = try await TestBed(store: memory)
        let store = HookStore(memory)
        let first = try await TestBed(sharing: second, through: store)
        second.settings.gc.deletionGrace = .zero
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        try await one.attach("v").write(pattern(1, count: 4096), at: 0, fua: true)
        try await one.close()
        let isFinished = Mutex(false)
        let again = try await first.open()
        store.beforeCreate { key in
            guard key.text.contains("/log/"), try await two.list().isEmpty, !isFinished.withLock({ $0 }) else { return }
            isFinished.withLock { $0 = true }
            _ = try await two.collectGarbage(dryRun: false) { _ in }
        }
        #expect(try await again.delete(VolumeReference(volume: "v"), force: false).names == ["v"])
        #expect(isFinished.withLock { $0 })
        try await again.close()
        try await two.close()
    }

    /// What was allowed for one volume is not for the next of its name.
    @Test func aPermissionToTakeOverEndsWithTheVolume() async throws {
        let first = try await TestBed()
        first.settings.takeOver = ["v"]
        let second = try await TestBed(sharing: first)
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        _ = try await one.delete(VolumeReference(volume: "v"), force: false)
        _ = try await two.create("v", sizeBytes: 1 << 20)
        let device = try await two.attach("v")
        try await device.write(pattern(1, count: 4096), at: 0, fua: true)
        await #expect { try await one.attach("v") } throws: { $0.storageCode == .busy }
        try await device.write(pattern(2, count: 4096), at: 0, fua: true)
        try await two.close()
        try await one.close()
    }

    @Test func soDoesOneToAcceptALoss() async throws {
        let bed = try await TestBed()
        bed.settings.afterCrash = .refuse
        bed.settings.acceptsLoss = ["v"]
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        _ = try await engine.delete(VolumeReference(volume: "v"), force: false)
        let made = try await engine.create("v", sizeBytes: 1 << 20)
        let loss = LossRecord(time: bed.machine.time.now(), bootID: 0, epoch: Epoch(1), reason: "writes are gone")
        try await loss.save(
            directory: bed.dataDirectory + "/journal", volume: try #require(VolumeID(hex: made.id)),
            disk: bed.machine.disk)
        await #expect { try await engine.attach("v") } throws: { $0.storageCode == .denied }
        #expect(bed.events.count(.lossAccepted) == 0)
        try await engine.close()
    }
}

@Suite struct Resizing {
    @Test func growingAgainShowsNoOldDataWhateverWasWrittenMeanwhile() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        for round in 0..<20 as Range<UInt64> {
            let isOver = Mutex(false)
            async let writing: Void = {
                // Until the end has moved, and then writes there are refused.
                while !isOver.withLock({ $0 }) {
                    do { try await device.write(pattern(round, count: 4096), at: 512 << 10) } catch { return }
                    await Task.yield()
                }
            }()
            _ = try await engine.resize("v", to: 256 << 10, force: true)
            isOver.withLock { $0 = true }
            await writing
            _ = try await engine.resize("v", to: 1 << 20, force: false)
            #expect(try await device.bytes(at: 512 << 10, count: 4096) == [UInt8](repeating: 0, count: 4096))
        }
        try await engine.close()
    }
}

@Suite struct NamesByTheTime {
    @Test func twoOfOneSecondAreBothThere() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        for _ in 0..<3 { _ = try await engine.snapshot("v", name: nil) }
        _ = try await engine.snapshot("v", name: "s")
        for _ in 0..<3 {
            _ = try await engine.rollback(VolumeReference(volume: "v", snapshot: "s"), force: true)
        }
        #expect(try await engine.list().count == 8)
        try await engine.close()
    }
}

@Suite(.timeLimit(.minutes(10))) struct NobodyWaitsForAFailedVolume {
    @Test func aWriteThatWaitsForTheJournalIsToldOfTheFence() async throws {
        let memory = MemoryStore()
        let second = try await TestBed(store: memory)
        let store = HookStore(memory)
        let first = try await TestBed(sharing: second, through: store)
        second.settings.takeOver = ["v"]
        first.settings.volume.journalBytes = 4 << 20
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 64 << 20)
        let device = try await one.attach("v")
        store.beforeCreate { key in
            if key.text.contains("/log/") { throw StorageError(.unavailable, "the store is away") }
        }
        let writing = Task {
            for piece in 0..<16 as Range<UInt64> {
                try await device.write(pattern(piece, count: 1 << 20), at: piece << 20)
            }
        }
        try await Task.sleep(for: .milliseconds(300))
        _ = try await two.attach("v")
        store.beforeCreate(nil)
        await #expect(throws: StorageError.self) { try await writing.value }
        try await two.close()
        await one.abandon()
    }

    @Test func aFlushIsToldThatTheCheckpointFailed() async throws {
        let store = HookStore(MemoryStore())
        let bed = try await TestBed(store: store)
        // Only the snapshot and the flush seal.
        bed.settings.volume.uploadDelay = .seconds(1_000_000)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 4096), at: 0, fua: true)
        // The second segment gets through, its run is refused once the flush has sent the third segment, and that one
        // never arrives.
        let sent = Mutex<Set<Character>>([])
        store.beforeCreate { key in
            if key.text.contains("/map/") {
                while !sent.withLock({ $0.contains("3") }) { try await Task.sleep(for: .milliseconds(1)) }
                throw StorageError(.invalid, "the request is refused for good")
            }
            guard key.text.contains("/log/"), let last = key.text.last else { return }
            sent.withLock { _ = $0.insert(last) }
            if last == "3" { throw StorageError(.unavailable, "the store is away") }
        }
        try await device.write(pattern(2, count: 4096), at: 4096)
        let snapshot = Task { try await engine.snapshot("v", name: "s") }
        // From here on the memtable is frozen behind the second segment: the third is no part of the snapshot.
        while !sent.withLock({ $0.contains("2") }) { try await Task.sleep(for: .milliseconds(1)) }
        try await device.write(pattern(3, count: 4096), at: 8192)
        await #expect { try await device.flush() } throws: { ($0 as? StorageError)?.code == .invalid }
        await #expect(throws: StorageError.self) { try await snapshot.value }
        await engine.abandon()
    }
}

@Suite struct GarbageCollectionBeside {
    @Test func aBranchThatGcPassedByStartsAgain() async throws {
        let store = HookStore(MemoryStore())
        let bed = try await TestBed(store: store)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 4096), at: 0, fua: true)
        let other = try await TestBed(sharing: bed).open()
        let passes = Mutex(0)
        store.beforeCreate { key in
            guard key.text.hasSuffix("/manifest/fffffffffffffffe"),
                passes.withLock({
                    $0 += 1; return $0 == 1
                })
            else { return }
            _ = try await other.collectGarbage(dryRun: false) { _ in }
        }
        _ = try await engine.branch(VolumeReference(volume: "v"), to: "b")
        #expect(passes.withLock { $0 } == 2)
        store.beforeCreate(nil)
        #expect(try await engine.attach("b").bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await engine.close()
        try await other.close()
    }
}
