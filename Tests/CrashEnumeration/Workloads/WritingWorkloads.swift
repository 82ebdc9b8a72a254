import Volumes

/// Writes and flushes, and what follows from them alone: the log, the journal, checkpoints, compaction.
extension Workload {
    static let writing: [Workload] = [
        Workload(
            name: "writes-store", about: "writes, zeroes, flushes and FUA in mode store; closed in order"
        ) { world in
            let server = try await world.addServer()
            let volume = try await server.create("v", blocks: 48)
            try await server.attach(volume).writeAndFlush(world, writes: 36)
            try await server.close()
        },
        Workload(
            name: "writes-journal", about: "the same in mode journal", shape: EngineShape(durability: .journal)
        ) { world in
            let server = try await world.addServer()
            let volume = try await server.create("v", blocks: 48)
            try await server.attach(volume).writeAndFlush(world, writes: 36)
            try await server.close()
        },
        Workload(
            name: "no-journal", about: "mode store without a local journal",
            shape: EngineShape {
                $0.volume.isJournaled = false
                // Killed, it refuses the clients that may have lived on; here there are none.
                $0.afterCrash = .serve
            }
        ) { world in
            let server = try await world.addServer()
            let volume = try await server.create("v", blocks: 32)
            volume.isJournaled = false
            try await server.attach(volume).writeAndFlush(world, writes: 24)
            try await server.close()
        },
        Workload(
            name: "journal-wrap", about: "a journal of several files that fills up while uploads are slow",
            shape: EngineShape(durability: .journal) {
                $0.volume.journalBytes = 192 << 10
                $0.volume.uploadDelay = .milliseconds(10)
            }
        ) { world in
            world.pause.uploadMax = 60_000_000
            let server = try await world.addServer()
            let volume = try await server.create("v", blocks: 64)
            let client = try await server.attach(volume)
            for number in 1...36 {
                try await client.write(world.draw(60), count: 2 + world.draw(3))
                if number % 5 == 0 { try await client.flush() }
            }
            server.kill()
        },
    ]

    static let mapping: [Workload] = [
        Workload(
            name: "checkpoints", about: "a checkpoint every other segment, and compaction of the map behind them",
            shape: EngineShape(level0RunsMax: 1) {
                $0.volume.checkpointSegments = 2
            }
        ) { world in
            let server = try await world.addServer()
            let volume = try await server.create("v", blocks: 48)
            try await server.attach(volume).writeAndFlush(world, writes: 30, flushEvery: 2)
            try await server.close()
        }
    ]
}

extension World {
    /// The first host's server.
    func addServer() async throws -> Server { try await hosts[0].start() }
}
