import CSimulationRandom
import ObjectStorage
import Simulation
import StoreCore
import Volumes

/// A workload as it ran once: what it did to the world, and what its clients were told.
struct Recording: Sendable {
    var name: String
    var shape: EngineShape
    var blocks: BlockTable
    /// How it began.
    var objects: [ObjectKey: [UInt8]]
    var disks: [DiskState]
    var events: [Recorder.Event]
    var mutations: [Mutation]
    var volumes: [VolumeHistory]

    /// Runs a workload. One seed is one recording.
    static func make(_ workload: Workload, seed: UInt64 = 1, trace: Trace = Trace()) throws -> Recording {
        simulation_seed_random(seed)
        let scheduler = Scheduler(seed: seed, trace: trace)
        let world = World(workload.shape, seed: seed, scheduler: scheduler, blocks: BlockTable())
        for _ in 0..<workload.hosts { _ = world.addHost() }
        nonisolated(unsafe) var objects: [ObjectKey: [UInt8]] = [:]
        try scheduler.run {
            try await world.makeStore()
            objects = world.bucket.snapshotOfObjects()
            try await workload.body(world)
            world.recorder.isOn = false
            try await world.learnTruth()
        }
        return Recording(world, name: workload.name, objects: objects)
    }

    init(_ world: World, name: String, objects: [ObjectKey: [UInt8]]) {
        self.name = name
        shape = world.shape
        blocks = world.blocks
        self.objects = objects
        disks = world.hosts.map(\.firstState)
        events = world.recorder.events
        mutations = world.recorder.mutations
        volumes = world.volumes
    }
}

extension World {
    fileprivate func makeStore() async throws {
        recorder.isOn = false
        let time = FixedTime()
        let machine = Machine(
            time: time, disk: StateDisk(DiskState()), cacheDisk: StateDisk(DiskState()), workers: .inline(),
            host: "maker")
        try await Engine.initialize(store: bucket, unlock: EngineShape.unlock, machine: machine)
        recorder.isOn = true
    }

    /// What each snapshot, and each branch that nobody looked at, came to hold.
    fileprivate func learnTruth() async throws {
        let server = try await hosts[0].start(takingOver: Set(volumes.map(\.name)))
        let names = Set(try await server.run { try await $0.exportNames() })
        for volume in volumes {
            for snapshot in volume.snapshots where !snapshot.isPrefix {
                let name = "\(volume.name)@\(snapshot.name)"
                guard names.contains(name) else { continue }
                snapshot.exact = try await server.run { [blocks] engine in
                    let device = try await engine.attach(name)
                    defer { Task { await engine.detach(device) } }
                    return try await device.contents(blocks)
                }
            }
            guard volume.owners.isEmpty, names.contains(volume.name) else { continue }
            let found = try await server.run { [blocks, name = volume.name] engine in
                try await engine.attach(name).contents(blocks)
            }
            volume.fixBase(found)
        }
        try await server.run { try await $0.close() }
    }
}

/// For what needs no clock.
private struct FixedTime: TimeSource {
    func now() -> Timestamp { Timestamp(nanoseconds: 1_767_225_600_000_000_000) }
    func monotonicNanoseconds() -> UInt64 { 0 }
    func sleep(for _: Duration) async throws {}
}
