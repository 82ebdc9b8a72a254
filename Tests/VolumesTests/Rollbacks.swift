import ObjectStorage
import StoreCore
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

@Suite(.timeLimit(.minutes(1))) struct SmallBuffersMakeRoom {
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
