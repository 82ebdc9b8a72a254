import ObjectStorage
import StoreCore
import Volumes

/// One interleaving by name: what broke a simpler protocol must not break this one. Each runs with several seeds, which
/// vary what it leaves open, and ends as every run does: with everything checked, and then deleted.
public struct Scenario: Sendable {
    public let name: String
    let hosts: Int
    let durability: Durability?
    let body: @Sendable (World) async -> Void

    func prepare(_ plan: inout RunPlan) {
        plan.hostCount = hosts
        plan.volumeCount = 1
        plan.faults = StoreFaults()
        plan.faults.latencyMax = 20_000_000
        plan.diskFaults = DiskFaults()
        plan.damagesReads = false
        plan.volume.storeDeadline = nil
        guard let durability else { return }
        plan.durability = durability
        plan.volume.durability = durability
        plan.volume.isJournaled = true
    }

    public static let all: [Scenario] = [
        Scenario(name: "opener-crashes-between-claim-and-fence", hosts: 3, durability: .store) { world in
            await world.openerCrashes()
        },
        Scenario(name: "paused-writer-acknowledges-across-a-hole", hosts: 2, durability: .store) { world in
            await world.pausedWriter()
        },
        Scenario(name: "rival-builds-on-my-commit", hosts: 2, durability: nil) { world in
            await world.rivalBuildsOnMine()
        },
        Scenario(name: "stalled-writer-wins-a-deleted-slot", hosts: 2, durability: nil) { world in
            await world.deletedSlot()
        },
        Scenario(name: "unnamed-objects-of-a-stalled-creator", hosts: 2, durability: nil) { world in
            await world.stalledCreator()
        },
        Scenario(name: "old-timeline-in-the-journal", hosts: 1, durability: .journal) { world in
            await world.oldTimeline()
        },
        Scenario(name: "run-names-a-sealed-segment-only", hosts: 1, durability: .store) { world in
            await world.killedAtEachCheckpoint()
        },
        Scenario(name: "rollback-is-killed", hosts: 1, durability: nil) { world in await world.rollbackIsKilled() },
        Scenario(name: "delete-races-open", hosts: 2, durability: .store) { world in await world.deleteRacesOpen() },
        Scenario(name: "two-open-at-once", hosts: 3, durability: .store) { world in await world.twoOpenAtOnce() },
        Scenario(name: "superseded-server-ends", hosts: 3, durability: .store) { world in
            await world.supersededServerEnds()
        },
    ]
}

extension World {
    /// Some changes by a client of `server`, and perhaps a flush.
    func use(_ server: Server, _ name: String = "v1", requests: Int, flushes: Bool = false) async {
        for _ in 0..<requests {
            guard let process = server.process, let open = await open(name, on: server) else { return }
            await write(open, process)
        }
        guard flushes, let process = server.process, let open = server.open[name] else { return }
        await flush(open, process)
    }
    func restart(_ server: Server, takeOver: Bool) async {
        if server.isUp { kill(server) }
        if await !start(server, takeOver: takeOver) { fail("\(server.host.name) does not start") }
    }
    /// Waits until `condition` holds; a scenario that never gets there proves nothing.
    fileprivate func wait(_ what: String, until condition: () -> Bool) async {
        for _ in 0..<20_000 {
            if condition() { return }
            await scheduler.pass(1_000_000)
        }
        fail("the scenario never came to: \(what)")
    }

    /// The epoch before an opener that crashed is still open, with a writer that lives: the next opener closes both.
    fileprivate func openerCrashes() async {
        await use(servers[0], requests: 20, flushes: true)
        bucket.intercept = { [self] call in
            guard call.kind == .create, call.process.hasPrefix("host1"), call.keys[0].text.contains("/log/") else {
                return nil
            }
            servers[1].process?.kill()
            return .getsLost
        }
        await restart(servers[1], takeOver: true)
        _ = await open("v1", on: servers[1])
        bucket.intercept = nil
        if servers[1].isUp { fail("the opener did not come to the fence") }
        servers[1].forget()
        // The writer has not met a fence yet, and goes on.
        await use(servers[0], requests: 5, flushes: true)
        await restart(servers[2], takeOver: true)
        if await open("v1", on: servers[2]) == nil { return fail("v1 does not open") }
        await use(servers[2], requests: 5, flushes: true)
        await use(servers[0], requests: 5, flushes: true)
    }

    /// One upload of a flush is held, later ones are through; the writer is paused, another takes over and cleans, and
    /// then the held upload goes on.
    fileprivate func pausedWriter() async {
        await use(servers[0], requests: 10, flushes: true)
        nonisolated(unsafe) var isHeld = false
        bucket.intercept = { call in
            guard !isHeld, call.kind == .create, call.process.hasPrefix("host0"), call.keys[0].text.contains("/log/")
            else { return nil }
            isHeld = true
            return .held("segment")
        }
        let writers = (0..<3).map { _ in Task { await self.use(self.servers[0], requests: 6, flushes: true) } }
        await wait("an upload that is held") { bucket.heldCount("segment") > 0 }
        await scheduler.pass(400_000_000)
        servers[0].process?.stop()
        await restart(servers[1], takeOver: true)
        if await open("v1", on: servers[1]) == nil { return fail("v1 does not open") }
        await use(servers[1], requests: 10, flushes: true)
        await collectGarbage(on: servers[1])
        bucket.release("segment")
        await scheduler.pass(1_000_000_000)
        servers[0].process?.resume()
        for writer in writers { await writer.value }
        await use(servers[0], requests: 2, flushes: true)
    }

    /// The answer to a catalog commit is lost, or the commit; before the writer looks another host has committed on top
    /// of it, or in its place.
    fileprivate func rivalBuildsOnMine() async {
        await use(servers[0], requests: 5)
        await snapshot(on: servers[0])
        let hasHappened = draw(2) == 0
        nonisolated(unsafe) var attempts = 0
        bucket.intercept = { call in
            guard call.kind == .create, call.process.hasPrefix("host0"), call.keys[0].text.hasPrefix("catalog/") else {
                return nil
            }
            attempts += 1
            return attempts == 1 ? (hasHappened ? .failsAfter : .failsBefore) : attempts == 2 ? .held("retry") : nil
        }
        let first = Task {
            if self.draw(2) == 0 {
                await self.create(on: self.servers[0])
            } else {
                await self.deleteSnapshot(on: self.servers[0])
            }
        }
        await wait("a second attempt that is held") { bucket.heldCount("retry") > 0 }
        await create(on: servers[1])
        bucket.release("retry")
        await first.value
        guard let engine = servers[1].engine, let process = servers[1].process else { return }
        let names = await attempt("list", on: process) { try await engine.exportNames() }
        let known = latest.count + snapshots.count
        if names?.count != known { fail("there should be \(known) exports: \(names ?? [])") }
    }

    /// A catalog commit stalls on its way until its number was reached, passed and deleted; then it wins the number.
    fileprivate func deletedSlot() async {
        nonisolated(unsafe) var isFirst = true
        bucket.intercept = { call in
            guard isFirst, call.kind == .create, call.process.hasPrefix("host0"),
                call.keys[0].text.hasPrefix("catalog/")
            else { return nil }
            isFirst = false
            return .held("commit")
        }
        let stalled = Task { await self.create(on: self.servers[0]) }
        await wait("a commit that is held") { bucket.heldCount("commit") > 0 }
        guard let engine = servers[1].engine, let process = servers[1].process else { return }
        for number in 0..<80 {
            let tag = "t\(number)"
            let done: Void? = await attempt("hold", on: process) {
                try await engine.hold(VolumeReference(volume: "v1"), tag: tag)
                try await engine.release(VolumeReference(volume: "v1"), tag: tag)
            }
            if done == nil { return fail("a hold failed") }
        }
        await collectGarbage(on: servers[1])
        bucket.release("commit")
        await stalled.value
        // Whatever became of it, what the others did is there, and a new commit works.
        await create(on: servers[1])
        if latest["v3"] == nil { fail("no volume can be created afterwards") }
    }

    /// A snapshot's objects are there, its catalog commit is not, and gc passes twice in between.
    fileprivate func stalledCreator() async {
        await use(servers[0], requests: 30, flushes: true)
        nonisolated(unsafe) var isFirst = true
        bucket.intercept = { call in
            guard isFirst, call.kind == .create, call.process.hasPrefix("host0"),
                call.keys[0].text.hasPrefix("catalog/")
            else { return nil }
            isFirst = false
            return .held("commit")
        }
        let stalled = Task {
            if self.draw(2) == 0 {
                await self.snapshot(on: self.servers[0])
            } else {
                await self.branch(on: self.servers[0])
            }
        }
        await wait("a commit that is held") { bucket.heldCount("commit") > 0 }
        // Either gc meets what nothing names yet, or what it names is long replaced in the volume.
        let movesOn = draw(2) == 0
        for _ in 0..<3 {
            if movesOn { await use(servers[0], requests: 60, flushes: true) }
            await collectGarbage(on: servers[1])
            await scheduler.pass(100_000_000)
        }
        await use(servers[0], requests: 20, flushes: true)
        bucket.release("commit")
        await stalled.value
        await collectGarbage(on: servers[1])
    }

    /// Power is lost again and again under a journal: what a torn entry's place held before must not come back.
    fileprivate func oldTimeline() async {
        for _ in 0..<12 {
            if await !start(servers[0], takeOver: false) { return fail("the server does not start") }
            let writers = (0..<2).map { number in
                Task { await self.use(self.servers[0], requests: 4 + self.draw(20), flushes: number == 0) }
            }
            await scheduler.pass(scheduler.delay(50_000_000, 1_000_000_000))
            crash(servers[0])
            for writer in writers { await writer.value }
        }
    }

    /// SIGKILL at every few jobs while checkpoints run.
    fileprivate func killedAtEachCheckpoint() async {
        for _ in 0..<12 {
            if await !start(servers[0], takeOver: false) { return fail("the server does not start") }
            let writers = (0..<2).map { _ in Task { await self.use(self.servers[0], requests: 25, flushes: true) } }
            nonisolated(unsafe) var left = draw(3)
            bucket.intercept = { [self] call in
                guard call.kind == .create, call.keys[0].text.contains("/map/") else { return nil }
                left -= 1
                if left < 0, let process = servers[0].process {
                    killing = (process, scheduler.steps + UInt64(draw(200)))
                    left = 1000
                }
                return nil
            }
            for writer in writers { await writer.value }
            bucket.intercept = nil
            killing = nil
            kill(servers[0])
        }
    }

    /// A rollback is killed at any step; afterwards the volume is what it was, or what the snapshot was.
    fileprivate func rollbackIsKilled() async {
        await use(servers[0], requests: 10)
        await snapshot(on: servers[0])
        for _ in 0..<6 {
            await use(servers[0], requests: 6)
            if let process = servers[0].process { killing = (process, scheduler.steps + UInt64(draw(1200))) }
            await rollBack(on: servers[0])
            killing = nil
            if !servers[0].isUp { servers[0].forget() }
            if await !start(servers[0], takeOver: false) { return fail("the server does not start") }
        }
    }

    /// One host deletes a volume while another opens it.
    fileprivate func deleteRacesOpen() async {
        await create(on: servers[0])
        await use(servers[0], requests: 6, flushes: true)
        await restart(servers[1], takeOver: true)
        for _ in 0..<3 {
            let deleting = Task {
                await self.scheduler.pass(self.scheduler.delay(0, 200_000_000))
                await self.deleteVolume(on: self.servers[0])
            }
            guard let engine = servers[1].engine, let process = servers[1].process else { return }
            for name in latest.keys.sorted() {
                _ = await attempt("attach \(name)", on: process, allowing: [.notFound]) {
                    let device = try await engine.attach(name)
                    await engine.detach(device)
                }
            }
            await deleting.value
        }
    }
}
