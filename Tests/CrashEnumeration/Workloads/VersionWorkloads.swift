/// Snapshots, branches, rollback, deletion, names and sizes, while clients write.
extension Workload {
    static let snapshots = Workload(
        name: "snapshots", about: "snapshots under writes; one is deleted again"
    ) { world in
        let server = try await world.addServer()
        let volume = try await server.create("v", blocks: 32)
        let client = try await server.attach(volume)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await client.writeAndFlush(world, writes: 24, flushEvery: 5) }
            group.addTask {
                for name in ["one", "two", "three"] {
                    try await world.rest(15)
                    try await server.snapshot(volume, name)
                }
                try await server.deleteSnapshot(volume, "one")
            }
            try await group.waitForAll()
        }
        try await server.close()
    }

    static let branches = Workload(
        name: "branches", about: "branches of a volume under writes and of a snapshot, written to beside it"
    ) { world in
        let server = try await world.addServer()
        let volume = try await server.create("v", blocks: 24)
        let client = try await server.attach(volume)
        try await client.writeAndFlush(world, writes: 6)
        try await server.snapshot(volume, "s")
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await client.writeAndFlush(world, writes: 12, flushEvery: 5) }
            group.addTask {
                let live = try await server.branch(volume, to: "b")
                try await server.attach(live).writeAndFlush(world, writes: 6, flushEvery: 3)
            }
            group.addTask {
                try await world.rest(5)
                let old = try await server.branch(volume, snapshot: "s", to: "b2")
                try await server.attach(old).writeAndFlush(world, writes: 4, flushEvery: 2)
            }
            try await group.waitForAll()
        }
        server.kill()
    }

    static let rollback = Workload(
        name: "rollback", about: "back to a snapshot with writes in the journal, twice"
    ) { world in
        let server = try await world.addServer()
        let volume = try await server.create("v", blocks: 24)
        var client = try await server.attach(volume)
        try await client.writeAndFlush(world, writes: 6)
        try await server.snapshot(volume, "s")
        try await client.writeAndFlush(world, writes: 5, flushEvery: 3)
        try await server.rollback(client, to: "s")
        client = try await server.attach(volume)
        try await client.writeAndFlush(world, writes: 5, flushEvery: 4)
        try await server.rollback(client, to: "s")
        try await server.attach(volume).writeAndFlush(world, writes: 3, flushEvery: 2)
        try await server.close()
    }

    static let deletion = Workload(
        name: "deletion", about: "a volume with a snapshot and unflushed writes is deleted; its branch stays"
    ) { world in
        let server = try await world.addServer()
        let volume = try await server.create("v", blocks: 24)
        let client = try await server.attach(volume)
        try await client.writeAndFlush(world, writes: 6)
        try await server.snapshot(volume, "s")
        let branch = try await server.branch(volume, to: "b")
        try await client.writeAndFlush(world, writes: 3, flushEvery: 4)
        let other = try await server.attach(branch)
        await client.detach()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await other.writeAndFlush(world, writes: 6, flushEvery: 3) }
            group.addTask {
                try await server.delete(volume)
                try await server.collectGarbage()
            }
            try await group.waitForAll()
        }
        try await server.close()
    }

    static let resizing = Workload(
        name: "resizing", about: "renamed, shrunk, grown, with writes between"
    ) { world in
        let server = try await world.addServer()
        let volume = try await server.create("v", blocks: 32)
        let client = try await server.attach(volume)
        try await client.writeAndFlush(world, writes: 6)
        try await server.rename(volume, to: "renamed")
        try await client.resize(to: 12)
        try await client.writeAndFlush(world, writes: 4, flushEvery: 3)
        try await client.resize(to: 40)
        try await client.writeAndFlush(world, writes: 4, flushEvery: 3)
        try await server.rename(volume, to: "v")
        try await client.resize(to: 20)
        server.kill()
    }
}
