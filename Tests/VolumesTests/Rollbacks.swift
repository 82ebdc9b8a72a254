import ObjectStorage
import Snapshots
import StoreCore
import Synchronization
import Testing

@testable import Volumes

/// A rollback holds its target until its last manifest is there; one that is killed in between must not hold it for
/// ever.
@Suite struct ABrokenRollbackHoldsNothing {
    private let target = VolumeReference(volume: "v", snapshot: "s")

    /// A volume whose rollback broke off behind the commit that holds the target, with its server gone.
    private func bed() async throws -> TestBed {
        let store = HookStore(MemoryStore())
        let bed = try await TestBed(store: store)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 4096), at: 0, fua: true)
        _ = try await engine.snapshot("v", name: "s")
        try await device.write(pattern(2, count: 4096), at: 0, fua: true)
        await engine.detach(device)
        store.beforeCreate { key in
            if key.text.contains("/manifest/") { throw StorageError(.cancelled, "killed here") }
        }
        await #expect(throws: StorageError.self) { try await engine.rollback(target, force: true) }
        await engine.abandon()
        store.beforeCreate(nil)
        #expect(try await holds(bed.open()).count == 1)
        return bed
    }
    private func holds(_ engine: Engine) async throws -> [String] { try await engine.list().flatMap(\.holds) }

    @Test func onceTheVolumeIsOpenedAgain() async throws {
        let bed = try await bed()
        let engine = try await bed.open()
        let device = try await engine.attach("v")
        #expect(try await device.bytes(at: 0, count: 4096) == pattern(2, count: 4096))
        #expect(try await holds(engine).isEmpty)
        _ = try await engine.delete(target, force: false)
        try await engine.close()
    }

    @Test func onceTheVolumeIsDeleted() async throws {
        let bed = try await bed()
        let engine = try await bed.open()
        _ = try await engine.delete(VolumeReference(volume: "v"), force: true)
        #expect(try await engine.list().isEmpty)
        try await engine.close()
    }

    @Test func onceAnotherRollbackEnds() async throws {
        let bed = try await bed()
        let engine = try await bed.open()
        _ = try await engine.rollback(target, force: true)
        #expect(try await holds(engine).isEmpty)
        try await engine.close()
    }

    /// What a person holds stays held, whatever it is called.
    @Test func butAPersonsHoldStays() async throws {
        let bed = try await bed()
        let engine = try await bed.open()
        try await engine.hold(target, tag: "rollback-monday")
        _ = try await engine.attach("v")
        #expect(try await holds(engine) == ["rollback-monday"])
        await #expect { try await engine.delete(target, force: false) } throws: { $0.storageCode == .busy }
        try await engine.close()
    }

    /// Nobody can tell yet whether the rollback still runs.
    @Test func untilThenItHolds() async throws {
        let bed = try await bed()
        let engine = try await bed.open()
        await #expect { try await engine.delete(target, force: false) } throws: { $0.storageCode == .busy }
        try await engine.close()
    }
}

/// The catalog may refuse a rollback when the volume is served no more: then it goes on as before.
@Suite struct ARefusedRollbackLosesNothing {
    private static let target = VolumeReference(volume: "v", snapshot: "s")

    /// As `keys rotate --rewrite` does.
    private static func replaceVersion(_ engine: Engine) async throws {
        let known = try await engine.catalog.newest()
        let snapshot = try #require(try known.resolve(target).1)
        let version = try await PinnedVersion.load(snapshot.version, from: engine.store, keys: engine.keys)
        let (copy, bytes) = try version.seal(with: engine.keys)
        _ = try await engine.store.create(copy.key, bytes)
        try await engine.catalog.commit { editor in
            try editor.replaceVersion(of: snapshot.id, snapshot.version, with: copy, seen: known.birthFloor)
        }
    }

    /// Without a journal only an orderly end shows that nothing is lost of what clients were answered.
    @Test(arguments: [true, false]) func whereTheTargetChangesMeanwhile(isDeleted: Bool) async throws {
        let memory = MemoryStore()
        let store = HookStore(memory)
        let other = try await TestBed(store: memory)
        let bed = try await TestBed(sharing: other, through: store)
        bed.settings.afterCrash = .local
        bed.settings.volume.isJournaled = false
        let engine = try await bed.open(), second = try await other.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 4096), at: 0, fua: true)
        _ = try await engine.snapshot("v", name: "s")
        try await device.write(pattern(2, count: 4096), at: 0)
        await engine.detach(device)
        let isChanged = Mutex(false)
        // The target was read, and the safety snapshot is on its way to the commit that names both.
        store.beforeCreate { key in
            guard key.text.contains("/version/"), !isChanged.withLock({ exchange(&$0, with: true) }) else { return }
            if isDeleted {
                _ = try await second.delete(Self.target, force: false)
            } else {
                try await Self.replaceVersion(second)
            }
        }
        await #expect { try await engine.rollback(Self.target, force: true) } throws: {
            $0.storageCode == (isDeleted ? .notFound : .busy)
        }
        store.beforeCreate(nil)
        #expect(isChanged.withLock { $0 })
        let again = try await engine.attach("v")
        #expect(try await again.bytes(at: 0, count: 4096) == pattern(2, count: 4096))
        #expect(bed.events.count(.writesLost) == 0)
        try await engine.close()
        try await second.close()
    }
}

@Suite(.timeLimit(.minutes(10))) struct SmallBuffersMakeRoom {
    /// The active buffer is not full, nothing is on its way, and the write does not fit beside it.
    @Test func forAWriteThatDoesNotFitBesideWhatIsActive() async throws {
        let bed = try await TestBed()
        bed.settings.volume.segmentBytes = 16 << 10
        bed.settings.volume.writeBufferBytes = 64 << 10
        bed.settings.volume.uploadDelay = .seconds(1_000_000)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        for round in 0..<4 as Range<UInt64> {
            try await device.write(pattern(round, count: 4096), at: 0)
            try await device.write(pattern(round + 10, count: 64 << 10), at: 64 << 10)
        }
        #expect(try await device.bytes(at: 0, count: 4096) == pattern(3, count: 4096))
        try await engine.close()
    }
}
