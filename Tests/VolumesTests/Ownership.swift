import ObjectStorage
import StoreCore
import Synchronization
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
    /// The look at the catalog; segment, run and version together; the catalog's commit; the look after it.
    @Test(.timeLimit(.minutes(10))) func aSnapshotTakesFourRoundTrips() async throws {
        let faults = FaultStore(MemoryStore())
        let store = TracingStore(faults)
        let bed = try await TestBed(store: store)
        bed.settings.volume.uploadDelay = .seconds(3600)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 16 << 20)
        try await engine.attach("v").write(pattern(1, count: 1 << 20), at: 0)
        store.clear()
        // None of the three is answered before all of them were sent.
        let sent = Mutex(0)
        faults.arm { request in
            guard request.kind == .create, !request.concernsManifests else { return nil }
            sent.withLock { $0 += 1 }
            while sent.withLock({ $0 }) < 3 { try await Task.sleep(for: .milliseconds(5)) }
            return nil
        }
        _ = try await engine.snapshot("v", name: "s")
        // The checkpoint commits a manifest meanwhile, for which nobody waits.
        let requests = store.requests().filter { !$0.request.concernsManifests }.sorted { $0.began < $1.began }
        let kinds = requests.map(\.request.kind)
        #expect(kinds == [.list, .create, .create, .create, .create, .list], "\(requests.map(\.line))")
        let together = requests.dropFirst().prefix(3).flatMap(\.request.keys).map(\.text)
        for folder in ["/log/", "/map/", "/version/"] { #expect(together.count { $0.contains(folder) } == 1) }
        try await engine.close()
    }

    /// The catalog, the snapshot's version, the branch's manifest, the catalog's commit, and the look after it.
    @Test func aBranchTakesFiveRequests() async throws {
        let store = TracingStore(MemoryStore())
        let bed = try await TestBed(store: store)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 16 << 20)
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 1 << 20), at: 0)
        _ = try await engine.snapshot("v", name: "s")
        await engine.detach(device)
        try await engine.close()
        let other = try await bed.open()
        store.clear()
        _ = try await other.branch(VolumeReference(volume: "v", snapshot: "s"), to: "b")
        #expect((1...5).contains(store.requests().count), "\(store.lines())")
        try await other.close()
    }

    @Test func idleCostsNothing() async throws {
        let metering = MeteringStore(MemoryStore(), time: SystemTime())
        let bed = try await TestBed(store: metering)
        bed.settings.volume.uploadDelay = .milliseconds(50)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 16 << 20)
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 1 << 20), at: 0)
        // First it comes to rest, which takes longer on a busy machine; then nothing is sent.
        var before = UInt64.max
        for _ in 0..<10 where before != metering.counts().total {
            before = metering.counts().total
            try await Task.sleep(for: .seconds(2))
        }
        try await Task.sleep(for: .seconds(3))
        #expect(metering.counts().total == before)
        try await engine.close()
    }
}

extension StoreRequest {
    fileprivate var concernsManifests: Bool {
        keys.contains { $0.text.contains("/manifest/") } || prefix?.hasSuffix("/manifest/") == true
    }
}
