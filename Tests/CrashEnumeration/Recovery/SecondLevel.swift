import CSimulationRandom
import Simulation
import Volumes

/// Crashes in the midst of a recovery: the recovery of a crash is recorded as a workload of its own, with what was
/// under way then still on its way.
struct SecondLevel {
    let recording: Recording
    let crash: Crash
    let moment: Moment

    func record(trace: Trace = Trace()) throws -> Recording {
        let state = moment.state(after: crash)
        simulation_seed_random(state.identity)
        let scheduler = Scheduler(seed: state.identity, trace: trace)
        let world = World(
            state.shape, seed: state.identity, scheduler: scheduler, blocks: recording.blocks, objects: state.objects)
        let host = world.addHost(state.disk)
        for number in moment.store.underWay where !crash.mutations.contains(number) {
            world.recorder.sendEarlier(recording.mutations[number].effect)
        }
        world.volumes = recording.volumes.compactMap { volume in
            let isOwned = volume.isSurelyOwned(by: crash.host, at: crash.point)
            return volume.after(crash.point, isOwned ? crash.kind : .disk)
        }
        try scheduler.run {
            let names = Recovery.names(of: recording)
            let server = try await host.start(takingOver: names)
            for name in try await server.run({ try await $0.exportNames() }) where !name.contains("@") {
                let volume = world.volumes.first { $0.possibleNames(at: 0).contains(name) }
                guard let volume else { continue }
                let client = try await server.attach(volume, as: name)
                guard client.blockCount > 0 else { continue }
                try await client.write(world.blocks.afterRecovery, at: world.draw(client.blockCount) * 4096)
                try await client.flush()
            }
            if state.identity & 2 == 0 { try await server.close() } else { server.kill() }
            try await scheduler.sleep(3_600_000_000_000)
        }
        return Recording(world, name: "\(recording.name)/\(crash)", objects: state.objects)
    }
}
