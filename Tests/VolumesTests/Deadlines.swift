import ObjectStorage
import StoreCore
import Testing
import Volumes

/// While the store is away requests wait; with a deadline they fail, and never succeed falsely.
@Suite(.timeLimit(.minutes(10))) struct DeadlinesAreErrors {
    private static let away = StorageError(.unavailable, "the store is away")

    /// A volume `v` on a store whose requests fail while `faults` says so.
    private func bed(_ change: (inout EngineSettings) -> Void = { _ in }) async throws -> (TestBed, FaultStore) {
        let faults = FaultStore(MemoryStore())
        let bed = try await TestBed(store: faults)
        // Long enough for what a busy machine does while the store is there.
        bed.settings.volume.storeDeadline = .seconds(30)
        change(&bed.settings)
        return (bed, faults)
    }
    private func shut(_ faults: FaultStore, _ kinds: Set<RequestKind> = Set(RequestKind.allCases)) {
        faults.arm { kinds.contains($0.kind) ? .failBefore(Self.away) : nil }
    }
    private func eventually(_ body: () async throws -> Void) async throws {
        for _ in 0..<200 {
            do { return try await body() } catch { try await Task.sleep(for: .milliseconds(50)) }
        }
        try await body()
    }

    @Test func aFlushFailsAndTheVolumeGoesOn() async throws {
        let (bed, faults) = try await bed()
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        shut(faults)
        let began = ContinuousClock.now
        try await device.write(pattern(1, count: 4096), at: 0)
        await #expect { try await device.flush() } throws: { ($0 as? StorageError)?.code == .unavailable }
        await #expect { try await device.write(pattern(2, count: 4096), at: 4096, fua: true) } throws: {
            ($0 as? StorageError)?.code == .unavailable
        }
        // Once in ten seconds each.
        let most = 1 + Int((ContinuousClock.now - began) / .seconds(10))
        for code in [EventCode.deadlinePassed, .uploadFailed] { #expect((1...most).contains(bed.events.count(code))) }
        faults.disarm()
        try await eventually { try await device.flush() }
        #expect(try await device.bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await engine.close()
        #expect(bed.events.count(.volumeFailed) == 0)
    }

    @Test func aWriteThatWaitsForRoomFails() async throws {
        let (bed, faults) = try await bed {
            $0.volume.segmentBytes = 64 << 10
            $0.volume.writeBufferBytes = 256 << 10
        }
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 64 << 20)
        let device = try await engine.attach("v")
        shut(faults)
        var written: UInt64 = 0
        await #expect {
            while written < 64 {
                try await device.write(pattern(written, count: 64 << 10), at: written << 16)
                written += 1
            }
        } throws: { ($0 as? StorageError)?.code == .unavailable }
        #expect(written >= 1 && written <= 4)
        faults.disarm()
        try await eventually { try await device.write(pattern(9, count: 4096), at: 0, fua: true) }
        try await engine.close()
    }

    @Test func zeroesAndTrimsTakeRoomToo() async throws {
        let (bed, faults) = try await bed {
            $0.volume.segmentBytes = 64 << 10
            $0.volume.writeBufferBytes = 256 << 10
        }
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 30)
        let device = try await engine.attach("v")
        shut(faults)
        var count: UInt64 = 0
        await #expect(throws: StorageError.self) {
            while count < 20_000 {
                try await device.trim(at: count * 8192, count: 4096, fua: false)
                count += 1
            }
        }
        #expect(count < 3000)
        await engine.abandon()
    }

    @Test func aWriteThatWaitsForTheJournalFails() async throws {
        let (bed, faults) = try await bed { $0.volume.journalBytes = 4 << 20 }
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 64 << 20)
        let device = try await engine.attach("v")
        shut(faults)
        await #expect {
            for piece in 0..<16 as Range<UInt64> {
                try await device.write(pattern(piece, count: 1 << 20), at: piece << 20)
            }
        } throws: { ($0 as? StorageError)?.code == .unavailable }
        faults.disarm()
        try await eventually { try await device.write(pattern(9, count: 1 << 20), at: 0, fua: true) }
        try await engine.close()
    }

    @Test func aColdReadFailsAndWithoutADeadlineItWaits() async throws {
        let (bed, faults) = try await bed()
        let first = try await bed.open()
        _ = try await first.create("v", sizeBytes: 1 << 20)
        try await first.attach("v").write(pattern(1, count: 4096), at: 0, fua: true)
        _ = try await first.snapshot("v", name: "s")
        try await first.close()
        let second = try await bed.open()
        let device = try await second.attach("v"), snapshot = try await second.attach("v@s")
        shut(faults)
        for cold in [device, snapshot] {
            await #expect { try await cold.bytes(at: 0, count: 4096) } throws: {
                ($0 as? StorageError)?.code == .unavailable
            }
        }
        faults.disarm()
        #expect(try await device.bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await second.close()

        bed.settings.volume.storeDeadline = nil
        let third = try await bed.open()
        let patient = try await third.attach("v")
        shut(faults)
        let reading = Task { try await patient.bytes(at: 0, count: 4096) }
        try await Task.sleep(for: .milliseconds(400))
        faults.disarm()
        #expect(try await reading.value == pattern(1, count: 4096))
        try await third.close()
    }

    /// Without a deadline of its own a command gives up after a minute, whatever waits in the background.
    @Test func anAcceptanceGivesUpWhileTheStoreIsAway() async throws {
        let (bed, faults) = try await bed { $0.volume.storeDeadline = nil }
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        try await engine.attach("v").write(pattern(1, count: 4096), at: 0)
        let crashed = try await TestBed(crashed: bed, bootID: 7)
        crashed.machine.time = FastTime()
        let again = try await crashed.open()
        // The fences of the opening go through, its segments do not.
        let epoch = "/log/" + String(repeating: "0", count: 15) + "2/"
        faults.arm {
            $0.kind == .create && $0.keys.contains { $0.text.contains(epoch) } ? .failBefore(Self.away) : nil
        }
        await #expect { _ = try await again.accept("v") } throws: { ($0 as? StorageError)?.code == .unavailable }
        faults.disarm()
        try await eventually {
            let report = try await again.accept("v")
            #expect(report.wasLost)
        }
        await again.abandon()
        await engine.abandon()
    }

    @Test func commandsGiveUpAndAServerThatStopsKeepsEverything() async throws {
        let (bed, faults) = try await bed()
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        shut(faults)
        try await device.write(pattern(1, count: 4096), at: 0)
        await #expect(throws: StorageError.self) { try await engine.collectGarbage(dryRun: false) { _ in } }
        shut(faults, [.create])
        await #expect(throws: StorageError.self) { try await engine.snapshot("v", name: "s") }
        await #expect { try await engine.close() } throws: { ($0 as? StorageError)?.code == .unavailable }
        #expect(bed.events.count(.closedDirty) == 1)
        faults.disarm()
        bed.settings.volume.storeDeadline = nil
        let again = try await bed.open()
        let remote = DeviceClient(peer: "10.0.0.9:4711")
        #expect(try await again.attach("v", for: remote).bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await again.close()
    }
}

/// A clock on which a minute takes a second.
private struct FastTime: TimeSource {
    private let base = SystemTime()
    func now() -> Timestamp { base.now() }
    func monotonicNanoseconds() -> UInt64 { base.monotonicNanoseconds() * 60 }
    func sleep(for duration: Duration) async throws { try await base.sleep(for: duration / 60) }
}
