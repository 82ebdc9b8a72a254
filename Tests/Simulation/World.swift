import Cleaner
import ObjectStorage
import StoreCore
import Volumes

/// A promise was broken.
public struct Violation: Error, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}

/// One run: hosts that serve volumes from one bucket, clients that use them, commands, faults, and a model of what was
/// promised, against which everything that is read is judged.
final class World: @unchecked Sendable {
    let scheduler: Scheduler
    let bucket: SimulatedBucket
    /// The workload's own; the scheduler has another.
    var random: SplitMix64
    var plan: RunPlan
    let servers: [Server]
    private(set) var counts: [String: Int] = [:]

    var sessions: [Session] = []
    /// By volume: the session that the next opening is judged by.
    var latest: [String: Int] = [:]
    /// By name.
    var volumeIDs: [String: String] = [:]
    /// Being opened, pinned, rolled back or deleted: one at a time, so that the model knows who comes after whom.
    var locked: Set<String> = []
    /// Changes under way in a session; -1 while one runs alone.
    var changing: [Int: Int] = [:]
    /// Contents of snapshots, by name; nil until first read.
    var snapshots: [String: [UInt64]?] = [:]
    /// Whose deletion was asked for and not answered clearly.
    var doubtful: Set<String> = []
    var names = 0
    var isEnding = false
    /// SIGKILL this one when that many jobs have run.
    var killing: (process: SimulatedProcess, step: UInt64)?
    private var events: UInt64 = 0
    private var rules: ObjectRules?

    /// - Parameter change: of what the seed decided.
    init(seed: UInt64, scheduler: Scheduler, change: (inout RunPlan) -> Void = { _ in }) {
        self.scheduler = scheduler
        random = SplitMix64(seed: seed &* 0x2545_f491_4f6c_dd1d &+ 1)
        var plan = RunPlan(&random)
        change(&plan)
        self.plan = plan
        bucket = SimulatedBucket(scheduler: scheduler)
        servers = (0..<plan.hostCount).map { number in
            Server(SimulatedHost("host\(number)", scheduler: scheduler))
        }
        rules = ObjectRules(bucket) { [unowned self] in fail($0) }
        scheduler.beforeStep = { [unowned self] in killWhenDue() }
    }

    func count(_ what: String, _ times: Int = 1) { counts[what, default: 0] += times }
    func nextEvent() -> UInt64 {
        events += 1
        return events
    }
    func draw(_ count: Int) -> Int { Int(random.next() % UInt64(max(count, 1))) }
    func fail(_ what: String) { scheduler.fail(Violation(what)) }

    /// Of a session that was superseded, or whose volume is gone, more may fail.
    func lateAnswers(_ session: Int) -> Set<ErrorCode> {
        let volume = sessions[session].volume
        let isCurrent = sessions[session].survived == nil && latest[volume] != nil && !doubtful.contains(volume)
        return isCurrent ? [] : [.notFound, .corrupt]
    }

    /// Runs `body` in a process and judges its error: nil where it failed as it may.
    func attempt<R: Sendable>(
        _ what: String, on process: SimulatedProcess,
        allowing: @autoclosure () -> Set<ErrorCode> = [],
        _ body: @escaping @Sendable () async throws -> R
    ) async -> R? {
        do { return try await process.run(body) } catch {
            judge(error, of: what, allowing: allowing())
            return nil
        }
    }

    private func judge(_ error: any Error, of what: String, allowing: Set<ErrorCode>) {
        if error is ProcessEnded { return }
        var allowed: Set<ErrorCode> = [.unavailable, .cancelled, .fenced, .busy, .full]
        allowed.formUnion(allowing)
        if plan.damagesReads { allowed.formUnion([.corrupt, .denied, .unsupported, .notFound]) }
        scheduler.note("\(what): \(error)")
        if !allowed.contains(error.storageCode) { fail("\(what) failed: \(error.storageCode.rawValue): \(error)") }
    }

    private func killWhenDue() {
        guard let killing, killing.step <= scheduler.steps else { return }
        self.killing = nil
        killing.process.kill()
    }

    /// Waits until no other command has the volume; false when the run ends first.
    func lock(_ name: String) async -> Bool {
        while locked.contains(name) {
            if isEnding { return false }
            await scheduler.pass(5_000_000)
        }
        locked.insert(name)
        return true
    }
    func unlock(_ name: String) { locked.remove(name) }

    // MARK: What happens to hosts

    func kill(_ server: Server) {
        server.process?.kill()
        server.forget()
        count("SIGKILL")
    }
    func crash(_ server: Server) {
        server.host.crash()
        server.forget()
        lower(server.host, to: .synced)
        count("host crash")
    }
    func loseDisk(_ server: Server) {
        server.host.loseDisk()
        server.forget()
        lower(server.host, to: .stored)
        for index in sessions.indices where sessions[index].host == server.host.name {
            sessions[index].hasLostDisk = true
        }
        count("disk lost")
    }
    private func lower(_ host: SimulatedHost, to promise: Promise) {
        for index in sessions.indices where sessions[index].host == host.name {
            sessions[index].holding = min(sessions[index].holding, promise)
        }
    }
}
