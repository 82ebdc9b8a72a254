import ObjectStorage
import StoreCore
import Volumes

/// One seed, run.
public struct SeedRun: Sendable {
    public let seed: UInt64
    /// Of everything that was decided: the same for each run of the seed.
    public var hash: UInt64 = 0
    public var steps: UInt64 = 0
    /// Virtual seconds.
    public var seconds = 0.0
    /// What was done, and which faults struck.
    public var counts: [String: Int] = [:]
    public var faults: [String: Int] = [:]
    /// What was broken; nil where nothing was.
    public var failure: String?
    /// The last lines of the trace, where lines were asked for.
    public var lines: [String] = []

    /// Runs a seed to its end on this thread, which must be the only one that runs Swift tasks.
    /// - Parameter scenario: what happens, instead of anything that may.
    public static func run(
        seed: UInt64, scenario: Scenario? = nil, linesMax: Int = 0, printsLines: Bool = false
    ) -> SeedRun {
        let trace = Trace(linesMax: linesMax, printsLines: printsLines)
        let scheduler = Scheduler(seed: seed, trace: trace)
        let world = World(seed: seed, scheduler: scheduler) { plan in
            if let scenario { scenario.prepare(&plan) } else { plan.serveOverNBD(seed: seed) }
        }
        var run = SeedRun(seed: seed)
        do {
            try scheduler.run {
                if let scenario { await world.run(scenario) } else { await world.run() }
            }
        } catch {
            run.failure = "\(error)"
        }
        run.hash = trace.hash
        run.steps = scheduler.steps
        run.seconds = Double(scheduler.now) / 1e9
        run.counts = world.counts
        run.counts["store requests"] = world.bucket.requestCount
        run.faults = world.bucket.faultCounts
        for server in world.servers {
            run.faults.merge(server.host.disk.faultCounts, uniquingKeysWith: +)
        }
        run.lines = trace.lines
        return run
    }
}

extension World {
    func run() async {
        scheduler.note("\(plan)")
        guard await prepare() else { return }
        let tasks = [Task { await self.trouble() }, Task { await self.supervise() }]
        let operators = (0..<plan.operatorCount).map { _ in Task { await self.operate() } }
        let clients = (0..<plan.clientCount).map { _ in Task { await self.client() } }
        await scheduler.pass(plan.duration)
        isEnding = true
        // Whoever waits for something that does not come is told that his server is gone.
        for server in servers {
            server.process?.resume()
            server.process?.kill()
        }
        for task in tasks + operators + clients { await task.value }
        await finish()
    }

    func run(_ scenario: Scenario) async {
        guard await prepare() else { return }
        await scenario.body(self)
        bucket.intercept = nil
        isEnding = true
        await finish()
    }

    /// A store, servers and volumes, before anything goes wrong.
    private func prepare() async -> Bool {
        let process = servers[0].host.start()
        let store = store(for: process, on: servers[0].host)
        let machine = servers[0].host.machine(of: process)
        let made: Void? = await attempt("init", on: process) {
            try await Engine.initialize(store: store, unlock: Self.unlock, machine: machine)
        }
        process.kill()
        guard made != nil else {
            fail("init fails on a healthy store")
            return false
        }
        for server in servers { _ = await start(server, takeOver: false) }
        for _ in 0..<plan.volumeCount { await create(on: servers[0]) }
        bucket.faults = plan.faults
        for server in servers { server.host.disk.faults = plan.diskFaults }
        return true
    }
}
