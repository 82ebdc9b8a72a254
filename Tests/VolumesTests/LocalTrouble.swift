import StoreCore
import Synchronization
import Testing

@testable import Volumes

/// What goes wrong on the machine itself is told once, with its code.
@Suite(.timeLimit(.minutes(10))) struct TroubleOnTheMachineIsTold {
    @Test func aJournalThatFailed() async throws {
        let bed = try await TestBed()
        let disk = FaultyDisk()
        bed.machine.disk = disk
        bed.settings.volume.durability = .journal
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 4096), at: 0)
        try await device.flush()
        #expect(bed.events.count(.journalFailed) == 0)
        disk.faults.withLock { $0.failsSync = true }
        // Together and one after the other: the store answers for them, until the volume has ended.
        await withTaskGroup { group in
            for number in UInt64(1)...8 {
                group.addTask {
                    do {
                        try await device.write(pattern(number, count: 4096), at: number * 4096)
                        try await device.flush()
                    } catch { #expect(error.storageCode == .unavailable) }
                }
            }
        }
        do { try await device.flush() } catch { #expect(error.storageCode == .unavailable) }
        while bed.events.count(.volumeFailed) == 0 { try await Task.sleep(for: .milliseconds(10)) }
        #expect(bed.events.count(.journalFailed) == 1)
        await engine.abandon()
    }

    @Test func aClockThatWasSet() async throws {
        let bed = try await TestBed()
        let time = SettableTime()
        bed.machine.time = time
        bed.settings.volume.uploadDelay = .milliseconds(20)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        var written: UInt64 = 0
        /// A write, and the look at the clocks that its age brings.
        func write() async throws {
            written += 1
            try await device.write(pattern(written, count: 4096), at: 0)
            try await Task.sleep(for: .milliseconds(200))
        }
        for _ in 0..<3 { try await write() }
        time.set(forward: .seconds(-3))
        for _ in 0..<3 { try await write() }
        #expect(bed.events.count(.clockJumped) == 0)
        for jump in [Duration.seconds(-3600), .seconds(7200)] {
            let before = bed.events.count(.clockJumped)
            time.set(forward: jump)
            while bed.events.count(.clockJumped) == before { try await write() }
            time.pass(.seconds(11))
            for _ in 0..<3 { try await write() }
            #expect(bed.events.count(.clockJumped) == before + 1)
        }
        try await engine.close()
    }
}

/// The machine's time, with a wall clock that somebody sets, and a steady one that may go faster for a while.
private final class SettableTime: TimeSource {
    private let base = SystemTime()
    private let state = Mutex((wall: Duration.zero, steady: Duration.zero))

    func set(forward duration: Duration) { state.withLock { $0.wall += duration } }
    func pass(_ duration: Duration) { state.withLock { $0 = ($0.wall + duration, $0.steady + duration) } }

    func now() -> Timestamp { base.now().adding(state.withLock { $0.wall }) }
    func monotonicNanoseconds() -> UInt64 {
        base.monotonicNanoseconds() + UInt64(state.withLock { $0.steady } / .nanoseconds(1))
    }
    func sleep(for duration: Duration) async throws { try await base.sleep(for: duration) }
}
