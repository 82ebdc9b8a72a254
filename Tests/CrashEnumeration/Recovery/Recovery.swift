import CSimulationRandom
import Cleaner
import Logging
import ObjectStorage
import Simulation
import StoreCore
import Volumes

/// What a crash left: the store, the disk of the host that starts again, and how engines run there.
struct CrashState: Sendable {
    var objects: [ObjectKey: [UInt8]]
    var disk: DiskState
    var shape: EngineShape
    /// Of everything above; decides what a recovery does beside recovering.
    var identity: UInt64
}

/// What a recovery found.
struct Observation: Sendable {
    /// By name, of volumes and snapshots.
    var contents: [String: Contents] = [:]
    /// What went wrong, whatever the clients knew.
    var problem: String?
}

/// Opens an engine on what a crash left, looks at everything, and goes on working with it.
struct Recovery {
    let state: CrashState
    let blocks: BlockTable
    /// Of all volumes that there may be: each may be taken over.
    let names: Set<String>
    var trace = Trace()
    /// Every so many states gc runs as well, twice.
    var gcEvery: UInt64 = 8

    /// Of its own, on a virtual clock: takes no time that is not computing.
    func run() -> Observation {
        simulation_seed_random(state.identity)
        let scheduler = Scheduler(seed: state.identity, trace: trace)
        nonisolated(unsafe) var observation = Observation()
        do {
            try scheduler.run(stepsMax: 3_000_000) {
                let run = RecoveryRun(self, scheduler)
                do { observation.contents = try await run.recover() } catch {
                    observation.problem = "\(run.phase): \(error)"
                }
                observation.contents = run.found
                // Timers that are left end here, and what they hold with them.
                try await scheduler.sleep(3_600_000_000_000)
            }
        } catch {
            observation.problem = "\(observation.problem ?? "") \(error)"
        }
        return observation
    }
}

extension Recovery {
    static func names(of recording: Recording) -> Set<String> {
        Set(recording.volumes.flatMap { $0.names.map(\.name) })
    }
}

private final class RecoveryRun: @unchecked Sendable {
    let recovery: Recovery
    let scheduler: Scheduler
    let host: SimulatedHost
    let store: MemoryStore
    let disk: StateDisk
    var phase = "opening"
    var found: [String: Contents] = [:]

    init(_ recovery: Recovery, _ scheduler: Scheduler) {
        self.recovery = recovery
        self.scheduler = scheduler
        host = SimulatedHost("recovery", scheduler: scheduler)
        // Later than everything before, so that nothing is kept for being young.
        host.clockOffset = 30 * 86_400 * 1_000_000_000
        store = MemoryStore(recovery.state.objects)
        disk = StateDisk(recovery.state.disk)
    }

    private func start() async throws -> (SimulatedProcess, Engine) {
        let process = host.start()
        var machine = host.machine(of: process)
        (machine.disk, machine.cacheDisk) = (disk, disk)
        var settings = recovery.state.shape.settings()
        settings.takeOver = recovery.names
        let log =
            scheduler.trace.isOn ? Logger(label: "zerofs") { StreamLogHandler.standardOutput(label: $0) } : silentLog
        let engine = try await process.run { [store, settings, machine] in
            try await Engine.open(
                store: store, unlock: EngineShape.unlock, settings: settings, machine: machine, log: log)
        }
        return (process, engine)
    }

    func recover() async throws -> [String: Contents] {
        let (process, engine) = try await start()
        try await process.run { [self] in
            phase = "verifying what the crash left"
            try await verify(engine)
            phase = "reading"
            found = try await readAll(engine)
        }
        guard !found.isEmpty else {
            try await process.run { try await engine.close() }
            return found
        }
        let expected = try await process.run { [self] in
            phase = "writing"
            let expected = try await writeOn(engine)
            phase = "stopping"
            if recovery.state.identity & 1 == 0 { try await engine.close() } else { await engine.abandon() }
            return expected
        }
        phase = "opening again"
        let (next, again) = try await start()
        try await next.run { [self] in
            phase = "reading again"
            try check(try await readAll(again), expected)
            if recovery.state.identity >> 8 % recovery.gcEvery == 0 { try await collectGarbage(again, expected) }
            phase = "closing"
            try await again.close()
            phase = "verifying at the end"
            try await verify(again)
        }
        return found
    }

    private func readAll(_ engine: Engine) async throws -> [String: Contents] {
        var all: [String: Contents] = [:]
        for name in try await engine.exportNames() {
            let device = try await engine.attach(name)
            all[name] = try await device.contents(recovery.blocks)
            await engine.detach(device)
        }
        return all
    }

    /// One block more in each volume, flushed.
    private func writeOn(_ engine: Engine) async throws -> [String: Contents] {
        var expected = found
        for name in found.keys.sorted() where !name.contains("@") {
            guard var contents = expected[name], !contents.isEmpty else { continue }
            let block = Int(recovery.state.identity >> 16 % UInt64(contents.count))
            let bytes = recovery.blocks.afterRecovery
            let device = try await engine.attach(name)
            try await device.write(at: UInt64(block * blockBytes), from: IOBuffer(bytes), fua: false)
            try await device.flush()
            await engine.detach(device)
            contents[block] = recovery.blocks.enter(bytes[...])
            expected[name] = contents
        }
        return expected
    }

    private func collectGarbage(_ engine: Engine, _ expected: [String: Contents]) async throws {
        phase = "collecting garbage"
        var garbage: [String: UInt64] = [:]
        // Two passes; a compaction that ends behind the second leaves work for one more.
        for pass in 1...4 {
            _ = try await engine.collectGarbage(dryRun: false) { _ in }
            guard pass > 1 else { continue }
            let left = try await engine.collectGarbage(dryRun: true) { _ in }
            garbage = left.perKind.mapValues(\.objectsDeleted).filter { $0.value > 0 }
            if garbage.isEmpty { break }
        }
        guard garbage.isEmpty else { throw WrongRecovery("gc does not come to an end: \(garbage)") }
        phase = "reading after gc"
        try check(try await readAll(engine), expected)
        phase = "verifying after gc"
        try await verify(engine)
    }

    private func verify(_ engine: Engine) async throws {
        let report = try await engine.verify(nil, deep: true) { _ in }
        guard let damage = report.damaged.first else { return }
        throw WrongRecovery("\(report.damaged.count) objects are damaged: \(damage.object): \(damage.problem)")
    }
    private func check(_ contents: [String: Contents], _ expected: [String: Contents]) throws {
        guard contents != expected else { return }
        let names = Set(contents.keys).union(expected.keys).filter { contents[$0] != expected[$0] }.sorted()
        throw WrongRecovery("\(names) changed")
    }
}

struct WrongRecovery: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
