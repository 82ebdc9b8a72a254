import ObjectStorage
import StoreCore
import Testing
import Volumes

@Suite struct OneWriter {
    /// Two machines: one store, two data directories.
    private func twoHosts() async throws -> (first: TestBed, second: TestBed) {
        let first = try await TestBed()
        let second = try await TestBed(sharing: first)
        return (first, second)
    }

    @Test func aVolumeThatAnotherHostHoldsIsBusy() async throws {
        let (first, second) = try await twoHosts()
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        let held = try await one.attach("v")
        try await held.write(pattern(1, count: 4096), at: 0, fua: true)
        await #expect { try await two.attach("v") } throws: { ($0 as? StorageError)?.code == .busy }
        try await one.close()
        let device = try await two.attach("v")
        #expect(try await device.bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await two.close()
    }

    @Test func staleWriterNeverAcknowledges() async throws {
        let (first, second) = try await twoHosts()
        second.settings.takeOver = ["v"]
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        let stale = try await one.attach("v")
        try await stale.write(pattern(1, count: 4096), at: 0, fua: true)
        let device = try await two.attach("v")
        #expect(try await device.bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await stale.write(pattern(2, count: 4096), at: 0)
        await #expect { try await stale.flush() } throws: { ($0 as? StorageError)?.code == .fenced }
        await #expect(throws: StorageError.self) { try await stale.flush() }
        #expect(try await device.bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await device.write(pattern(3, count: 4096), at: 0, fua: true)
        try await two.close()
        await one.abandon()
    }

    @Test func aForeignJournalIsNotReplayed() async throws {
        let (first, second) = try await twoHosts()
        second.settings.takeOver = ["v"]
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        let device = try await one.attach("v")
        try await device.write(pattern(1, count: 4096), at: 0, fua: true)
        try await device.write(pattern(2, count: 4096), at: 0)
        await one.abandon()
        let taken = try await two.attach("v")
        try await taken.write(pattern(3, count: 4096), at: 4096, fua: true)
        try await two.close()
        let again = try await first.open()
        let reopened = try await again.attach("v")
        #expect(try await reopened.bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        #expect(try await reopened.bytes(at: 4096, count: 4096) == pattern(3, count: 4096))
        try await again.close()
    }

    @Test func crashesDuringRecoveryLoseNothing() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        try await engine.attach("v").write(pattern(1, count: 4096), at: 0)
        await engine.abandon()
        // Opened and killed again and again, each time with one more write that nobody flushed.
        for round in 1...4 {
            let next = try await bed.open()
            try await next.attach("v").write(pattern(UInt64(round) + 1, count: 4096), at: UInt64(round) * 4096)
            await next.abandon()
        }
        let last = try await bed.open()
        let device = try await last.attach("v")
        for round in 0...4 {
            #expect(
                try await device.bytes(at: UInt64(round) * 4096, count: 4096) == pattern(UInt64(round) + 1, count: 4096)
            )
        }
        try await last.close()
    }
}

@Suite struct RequestBudgets {
    @Test func snapshotAndBranchTakeThreeRoundTrips() async throws {
        let memory = MemoryStore()
        let tracing = TracingStore(memory)
        let bed = try await TestBed(store: tracing)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 16 << 20)
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 1 << 20), at: 0)
        tracing.clear()
        _ = try await engine.snapshot("v", name: "s")
        // Segment, run and version in parallel with the look at the catalog, then its commit and the look after it.
        let snapshot = tracing.requests().map(\.line)
        #expect(snapshot.filter { $0.contains("create") }.count <= 5, "\(snapshot)")
        tracing.clear()
        _ = try await engine.branch(VolumeReference(volume: "v", snapshot: "s"), to: "b")
        let branch = tracing.requests().map(\.line)
        #expect(branch.filter { $0.contains("create") }.count <= 2, "\(branch)")
        try await engine.close()
    }

    @Test func idleCostsNothing() async throws {
        let metering = MeteringStore(MemoryStore(), time: SystemTime())
        let bed = try await TestBed(store: metering)
        bed.settings.volume.uploadDelay = .milliseconds(50)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 16 << 20)
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 1 << 20), at: 0)
        try await Task.sleep(for: .seconds(1))
        let before = metering.counts().total
        try await Task.sleep(for: .seconds(2))
        #expect(metering.counts().total == before)
        try await engine.close()
    }
}
