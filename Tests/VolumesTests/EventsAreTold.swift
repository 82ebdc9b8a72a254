import ObjectStorage
import StoreCore
import Testing
import Volumes

/// What went wrong is one line with a code, wherever it was met.
@Suite struct EventsAreTold {
    @Test func aDamagedSnapshotIsToldWhereItIsRead() async throws {
        let faults = FaultStore(MemoryStore())
        let bed = try await TestBed(store: faults)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        try await engine.attach("v").write(pattern(1, count: 65536), at: 0, fua: true)
        _ = try await engine.snapshot("v", name: "s")
        try await engine.close()
        let again = try await bed.open()
        let snapshot = try await again.attach("v@s")
        faults.arm { $0.kind == .rangedGet && $0.key?.text.contains("/log/") ?? false ? .truncate(toBytes: 100) : nil }
        for _ in 0..<3 {
            await #expect { _ = try await snapshot.bytes(at: 0, count: 4096) } throws: {
                ($0 as? StorageError)?.code == .corrupt
            }
        }
        // Once in ten seconds.
        #expect(bed.events.count(.corruptObject) == 1)
        faults.disarm()
        await again.detach(snapshot)
        try await again.close()
    }

    @Test func aStoreThatWasSetBackIsToldWhereItIsOpened() async throws {
        let store = MemoryStore()
        let bed = try await TestBed(store: store)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        try await engine.close()
        let page = try await store.list(prefix: "catalog/", after: nil, limit: 1)
        try await store.delete(page.objects.map(\.key))
        await #expect { _ = try await bed.open() } throws: { ($0 as? StorageError)?.code == .corrupt }
        #expect(bed.events.count(.storeRolledBack) == 1)
    }
}
