import Simulation
import StoreCore
import Volumes

/// gc, restarts, and another host.
extension Workload {
    static let garbage = Workload(
        name: "garbage", about: "gc with floors and repacking, while a client writes and snapshots come and go",
        shape: EngineShape(level0RunsMax: 1) {
            $0.volume.checkpointSegments = 3
        }
    ) { world in
        let server = try await world.addServer()
        let volume = try await server.create("v", blocks: 24)
        let client = try await server.attach(volume)
        try await client.writeAndFlush(world, writes: 12, flushEvery: 2)
        try await server.snapshot(volume, "s")
        try await client.writeAndFlush(world, writes: 12, flushEvery: 2)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await client.writeAndFlush(world, writes: 12, flushEvery: 4) }
            group.addTask {
                try await server.collectGarbage()
                try await server.snapshot(volume, "t")
                try await server.deleteSnapshot(volume, "s")
                try await server.collectGarbage()
            }
            try await group.waitForAll()
        }
        try await server.collectGarbage()
        try await server.close()
    }

    static let reopening = Workload(
        name: "reopening", about: "killed with a full journal, opened, killed while it writes, opened, closed, opened",
        shape: EngineShape(durability: .journal) { $0.volume.uploadDelay = .milliseconds(400) }
    ) { world in
        let host = world.hosts[0]
        var server = try await host.start()
        let volume = try await server.create("v", blocks: 32)
        var client = try await server.attach(volume)
        try await client.writeAndFlush(world, writes: 8, flushEvery: 5)
        server.kill()
        for _ in 0..<2 {
            server = try await host.start()
            client = try await server.attach(volume)
            try await client.writeAndFlush(world, writes: 5, flushEvery: 3)
            server.kill()
        }
        server = try await host.start()
        client = try await server.attach(volume)
        try await client.writeAndFlush(world, writes: 3, flushEvery: 3)
        try await server.close()
        server = try await host.start()
        try await server.attach(volume).writeAndFlush(world, writes: 3, flushEvery: 2)
        server.kill()
    }

    static let keyRotation = Workload(
        name: "key-rotation", about: "a new data key while a client writes; what is under the old one is rewritten"
    ) { world in
        let server = try await world.addServer()
        let volume = try await server.create("v", blocks: 24)
        let client = try await server.attach(volume)
        try await client.writeAndFlush(world, writes: 8, flushEvery: 2)
        try await server.snapshot(volume, "s")
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await client.writeAndFlush(world, writes: 12, flushEvery: 4) }
            group.addTask {
                try await server.run { _ = try await $0.rotateKeys(rewrite: false) { _ in } }
                try await world.rest(20)
                try await server.run { _ = try await $0.rewriteKeys { _ in } }
            }
            try await group.waitForAll()
        }
        try await server.close()
        let next = try await world.addServer()
        let again = try await next.attach(volume)
        try await again.writeAndFlush(world, writes: 3, flushEvery: 2)
        try await next.run { _ = try await $0.rewriteKeys { _ in } }
        next.kill()
    }

    static let takeOver = Workload(
        name: "take-over", about: "a second host takes the volume over, and the first takes it back", hosts: 2
    ) { world in
        let first = try await world.hosts[0].start()
        let volume = try await first.create("v", blocks: 32)
        let client = try await first.attach(volume)
        try await client.writeAndFlush(world, writes: 8, flushEvery: 3)
        try await client.write(3)
        let second = try await world.hosts[1].start(takingOver: ["v"])
        let other = try await second.attach(volume)
        // The old owner goes on: nothing that it does now may ever show, and it is told so.
        await world.writeInVain(client, on: first)
        try await other.writeAndFlush(world, writes: 6, flushEvery: 3)
        first.kill()
        let again = try await world.hosts[0].start(takingOver: ["v"])
        try await again.attach(volume).writeAndFlush(world, writes: 4, flushEvery: 2)
        second.kill()
        try await again.close()
    }

    static let leftJournal = Workload(
        name: "left-journal", about: "what a take-over left in the first host's journal comes back as a branch",
        shape: EngineShape(durability: .journal) { $0.volume.uploadDelay = .milliseconds(400) }, hosts: 2
    ) { world in
        let first = try await world.hosts[0].start()
        let volume = try await first.create("v", blocks: 24)
        let client = try await first.attach(volume)
        try await client.writeAndFlush(world, writes: 8, flushEvery: 3)
        let left = volume.last
        first.kill()
        let second = try await world.hosts[1].start(takingOver: ["v"])
        try await second.attach(volume).writeAndFlush(world, writes: 3, flushEvery: 2)
        let again = try await world.hosts[0].start()
        let branch = try await again.branch(fromJournalWith: left, to: "b")
        try await again.attach(branch).writeAndFlush(world, writes: 3, flushEvery: 2)
        try await again.close()
        second.kill()
    }
}

extension World {
    /// A write and a flush that must not be answered.
    func writeInVain(_ client: Client, on server: Server) async {
        let bytes = blocks.make()
        _ = blocks.enter(bytes[...])
        do {
            try await server.process.run { [device = client.device] in
                try await device.write(at: 0, from: IOBuffer(bytes), fua: true)
            }
            client.volume.wronglyAcknowledged = true
        } catch {
            // As it must be.
        }
    }
}
