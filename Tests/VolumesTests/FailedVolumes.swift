import ObjectStorage
import StoreCore
import Synchronization
import Testing
import Volumes

@Suite(.timeLimit(.minutes(10))) struct FailedVolumesAreOpenedAnew {
    /// A volume whose checkpoint was refused for good.
    private func failed() async throws -> (TestBed, Engine, HookStore) {
        let store = HookStore(MemoryStore())
        let bed = try await TestBed(store: store)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 4096), at: 0, fua: true)
        store.beforeCreate { key in
            if key.text.contains("/map/") { throw StorageError(.invalid, "the request is refused for good") }
        }
        await #expect(throws: StorageError.self) { try await engine.snapshot("v", name: "s") }
        await engine.detach(device)
        store.beforeCreate(nil)
        return (bed, engine, store)
    }

    @Test func theFirstAttachAfterAFailureSucceeds() async throws {
        let (bed, engine, _) = try await failed()
        #expect(bed.events.count(.volumeFailed) == 1)
        #expect(try await engine.attach("v").bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await engine.close()
    }

    /// R2: what the first checkpoint held is not in the map, so that no later one may cover it.
    @Test func noCheckpointIsCommittedBehindOneThatWasNot() async throws {
        let store = HookStore(MemoryStore())
        let bed = try await TestBed(store: store)
        bed.settings.volume.storeDeadline = .seconds(10)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        let isHeld = Mutex(false)
        store.beforeCreate { key in
            let isFirst = isHeld.withLock { held in
                defer { held = held || key.text.contains("/manifest/") }
                return !held && key.text.contains("/manifest/")
            }
            guard isFirst else { return }
            // Until the volume has ended, which cancels what waits.
            do { try await Task.sleep(for: .seconds(60)) } catch is CancellationError {}
            throw StorageError(.unavailable, "the store is away")
        }
        try await device.write(pattern(1, count: 4096), at: 0)
        _ = try await engine.snapshot("v", name: "first")
        while !isHeld.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(5)) }
        try await device.write(pattern(2, count: 4096), at: 4096)
        _ = try await engine.snapshot("v", name: "second")
        await #expect(throws: StorageError.self) { try await engine.close() }
        store.beforeCreate(nil)
        let again = try await bed.open()
        let found = try await again.attach("v").bytes(at: 0, count: 8192)
        #expect(found == pattern(1, count: 4096) + pattern(2, count: 4096))
        try await again.close()
    }

    @Test func aFailedVolumeThatIsDeletedLeavesNothingBehind() async throws {
        let (bed, engine, _) = try await failed()
        // Its data directory goes with it.
        defer { withExtendedLifetime(bed) {} }
        _ = try await engine.delete(VolumeReference(volume: "v"), force: true)
        #expect(await engine.statistics().volumes.isEmpty)
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        #expect(try await engine.attach("v").bytes(at: 0, count: 4096) == [UInt8](repeating: 0, count: 4096))
        try await engine.close()
    }

    /// A take-over that was allowed once was used up by the opening.
    @Test func aDeletionTakesNothingOverThatWasTakenBack() async throws {
        let first = try await TestBed()
        let second = try await TestBed(sharing: first), third = try await TestBed(sharing: first)
        second.settings.takeOver = ["v"]
        third.settings.takeOver = ["v"]
        let one = try await first.open(), two = try await second.open(), three = try await third.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        try await one.attach("v").write(pattern(1, count: 4096), at: 0, fua: true)
        let device = try await two.attach("v")
        try await three.attach("v").write(pattern(2, count: 4096), at: 0, fua: true)
        await #expect(throws: StorageError.self) {
            try await device.write(pattern(3, count: 4096), at: 0, fua: true)
        }
        await two.detach(device)
        await #expect { _ = try await two.delete(VolumeReference(volume: "v"), force: true) } throws: {
            ($0 as? StorageError)?.code == .busy
        }
        try await three.close()
        await two.abandon()
        await one.abandon()
    }

    @Test func aCrashInsideADeletionLeavesTheVolumeToItsHost() async throws {
        let store = HookStore(MemoryStore())
        let bed = try await TestBed(store: store)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let hook = SendableBed(bed: bed)
        let before = Mutex<SendableBed?>(nil)
        store.beforeCreate { key in
            guard key.text.hasPrefix("catalog/") else { return }
            // In the middle: claimed, and not yet out of the catalog.
            let copy = SendableBed(bed: try await TestBed(crashed: hook.bed, bootID: nil))
            before.withLock { $0 = copy }
            throw StorageError(.invalid, "the process ends here")
        }
        await #expect(throws: StorageError.self) { try await engine.delete(VolumeReference(volume: "v"), force: false) }
        store.beforeCreate(nil)
        let crashed = try #require(before.withLock { $0 }).bed
        let again = try await crashed.open()
        let device = try await again.attach("v", for: DeviceClient(peer: "10.0.0.9:4711"))
        try await device.write(pattern(1, count: 4096), at: 0, fua: true)
        try await again.close()
        try await engine.close()
    }

    @Test func aSnapshotMadeMeanwhileIsNotDeletedUnderItsClients() async throws {
        let store = HookStore(MemoryStore())
        let bed = try await TestBed(store: store)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        try await engine.attach("v").write(pattern(1, count: 4096), at: 0)
        try await engine.close()
        let again = try await bed.open()
        let attached = Mutex<(any BlockDevice)?>(nil)
        let isOver = Mutex(false)
        store.beforeCreate { key in
            let isFirst = isOver.withLock { over in
                defer { over = over || key.text.contains("/manifest/") }
                return !over && key.text.contains("/manifest/")
            }
            guard isFirst else { return }
            _ = try await again.snapshot("v", name: "late")
            let device = try await again.attach("v@late")
            attached.withLock { $0 = device }
        }
        await #expect { _ = try await again.delete(VolumeReference(volume: "v"), force: true) } throws: {
            ($0 as? StorageError)?.code == .busy
        }
        let device = try #require(attached.withLock { $0 })
        #expect(try await device.bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        await again.detach(device)
        #expect(try await again.delete(VolumeReference(volume: "v"), force: true).names == ["v@late", "v"])
        try await again.close()
    }

    @Test func aSnapshotIsNotAttachedWhileItIsDeleted() async throws {
        let store = HookStore(MemoryStore())
        let bed = try await TestBed(store: store)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        _ = try await engine.snapshot("v", name: "s")
        let refusals = Mutex<[ErrorCode]>([])
        store.beforeCreate { key in
            guard key.text.hasPrefix("catalog/") else { return }
            do { _ = try await engine.attach("v@s") } catch { refusals.withLock { $0.append(error.storageCode) } }
        }
        _ = try await engine.delete(VolumeReference(volume: "v", snapshot: "s"), force: false)
        #expect(refusals.withLock { $0 } == [.busy])
        store.beforeCreate(nil)
        try await engine.close()
    }
}

/// A bed that a hook may use while the test waits.
private struct SendableBed: @unchecked Sendable {
    let bed: TestBed
}

@Suite(.timeLimit(.minutes(10))) struct AFencedWriterAcknowledgesNothing {
    @Test func notEvenAnEmptyFlush() async throws {
        let first = try await TestBed()
        let second = try await TestBed(sharing: first)
        second.settings.takeOver = ["v"]
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        let stale = try await one.attach("v")
        _ = try await two.attach("v")
        try await stale.write(pattern(2, count: 4096), at: 0)
        await #expect(throws: StorageError.self) { try await stale.flush() }
        await #expect { try await stale.flush() } throws: { ($0 as? StorageError)?.code == .fenced }
        #expect(first.events.count(.fenced) == 1)
        try await two.close()
        await one.abandon()
    }

    /// gc of the next owner deletes what only the old one refers to: that is no damage.
    @Test func norSpeaksOfDamageWhereItsObjectsWereCollected() async throws {
        let memory = MemoryStore()
        let first = try await TestBed(store: memory)
        let second = try await TestBed(sharing: first)
        second.settings.takeOver = ["v"]
        let one = try await first.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        try await one.attach("v").write(pattern(1, count: 4096), at: 0, fua: true)
        try await one.close()
        let again = try await first.open(), two = try await second.open()
        let stale = try await again.attach("v")
        _ = try await two.attach("v")
        let logs = try await memory.list(prefix: "volumes/", after: nil, limit: 1000).objects.map(\.key)
        try await memory.delete(logs.filter { $0.text.contains("/log/") })
        await #expect { _ = try await stale.bytes(at: 0, count: 4096) } throws: {
            ($0 as? StorageError)?.code == .fenced
        }
        #expect(first.events.count(.fenced) == 1)
        #expect(first.events.count(.corruptObject) == 0)
        await again.abandon()
        await two.abandon()
    }

    /// Its upload had happened, unknown to it; the next owner read it, covered it, and gc gave the slot back. The retry
    /// finds the slot free, creates it anew, and must not take that for an acknowledgement.
    @Test func notThroughASlotThatWasCollected() async throws {
        let memory = MemoryStore()
        let faults = FaultStore(memory)
        let second = try await TestBed(store: memory)
        let first = try await TestBed(sharing: second, through: faults)
        second.settings.takeOver = ["v"]
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        let stale = try await one.attach("v")
        try await stale.write(pattern(1, count: 4096), at: 0)
        let slot = Mutex<ObjectKey?>(nil)
        let isPaused = Mutex(true)
        faults.arm { request in
            guard request.kind == .create, let key = request.keys.first, key.text.contains("/log/") else { return nil }
            let isFirst = slot.withLock { slot in
                defer { slot = key }
                return slot == nil
            }
            if isFirst { return .failAfter() }
            while isPaused.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(10)) }
            return nil
        }
        let flushing = Task { try await stale.flush() }
        while slot.withLock({ $0 }) == nil { try await Task.sleep(for: .milliseconds(10)) }
        try await Task.sleep(for: .milliseconds(100))
        let device = try await two.attach("v")
        #expect(try await device.bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await device.write(pattern(2, count: 4096), at: 0, fua: true)
        _ = try await two.snapshot("v", name: "s")
        let key = try #require(slot.withLock { $0 })
        try await memory.delete([key])
        isPaused.withLock { $0 = false }
        await #expect { try await flushing.value } throws: { ($0 as? StorageError)?.code == .fenced }
        #expect(try await memory.head(key) != nil)
        #expect(try await device.bytes(at: 0, count: 4096) == pattern(2, count: 4096))
        try await two.close()
        await one.abandon()
    }
}
