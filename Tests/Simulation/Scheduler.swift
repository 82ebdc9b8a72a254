import CSimulationExecutor
public import StoreCore

/// The simulation's executor and clock: one thing at a time, one seed, one run.
///
/// Every job of the Swift runtime comes here instead of going to a thread pool. The loop picks one of the ready jobs by
/// the seed, runs it to its next suspension, and lets virtual time pass; when none is ready, time jumps to the next
/// timer. So a run explores an interleaving that threads could have produced, and the same seed explores the same one.
///
/// Each job belongs to a process, the one that ran when it became ready, and a process can be killed or stopped between
/// two jobs. `SimulatedProcess.world` is the test itself: it is never stopped.
///
/// One scheduler lives at a time; nothing here is locked, and everything here may be called from jobs, timers and
/// simulated threads only, of which one runs at a time.
public final class Scheduler: @unchecked Sendable {
    /// How the next job is chosen; seeds take turns, because each finds what another does not.
    public enum Order: CaseIterable, Sendable {
        /// Any of the ready ones.
        case anyOf
        /// The one that has been ready longest, as a pool with one thread would.
        case oldestFirst
        /// Mostly the oldest; now and then any.
        case mostlyOldest
        /// The one that became ready last: starves the others as long as it can.
        case mostlyNewest
    }

    /// Virtual nanoseconds since the run began.
    public private(set) var now: UInt64 = 0
    /// Jobs run so far.
    public private(set) var steps: UInt64 = 0
    /// Decides interleavings, delays and faults. What a test draws for its workload should come from a generator of its
    /// own.
    public var random: SplitMix64
    public let world = SimulatedProcess(id: 0, name: "world")
    /// Whose job is running.
    public internal(set) var current: SimulatedProcess
    /// Called between two jobs: the place for a SIGKILL at any step.
    public var beforeStep: (() -> Void)?
    public let trace: Trace
    let threads = SimulatedThreads()

    private let order: Order
    private var ready: [Work] = []
    /// Where `ready` begins: what was taken from the front is cut off now and then.
    private var readyStart = 0
    private var timers = TimerQueue()
    private var lastProcess = 0
    private var lastTimer: UInt64 = 0
    private var hasEnded = false
    private var failure: (any Error)?

    /// A job that is ready, or a call that stands for one.
    struct Work {
        var process: SimulatedProcess
        var body: Body
        enum Body {
            case job(SimulationJob)
            case call(() -> Void)
        }
    }

    public nonisolated(unsafe) static var running: Scheduler?

    public init(seed: UInt64, trace: Trace = Trace()) {
        random = SplitMix64(seed: seed)
        order = Order.allCases[Int(random.next() % UInt64(Order.allCases.count))]
        self.trace = trace
        current = world
        world.scheduler = self
        threads.scheduler = self
    }

    /// Runs `body` as the world's first task until it ends, and everything beside it. Throws what it throws, and
    /// `Stuck` when nothing can go on any more, or when it takes more than `stepsMax` jobs.
    public func run(stepsMax: UInt64 = 2_000_000, _ body: @escaping @Sendable () async throws -> Void) throws {
        Self.capture()
        precondition(Self.running == nil, "one simulation at a time")
        Self.running = self
        defer {
            threads.endAll()
            Self.running = nil
        }
        nonisolated(unsafe) var outcome: Result<Void, any Error> = .success(())
        Task {
            do { try await body() } catch { outcome = .failure(error) }
            self.hasEnded = true
        }
        while !hasEnded {
            guard steps < stepsMax else {
                throw Stuck("\(steps) jobs ran, and the run has not ended: it goes in circles")
            }
            try step()
            if let failure { throw failure }
        }
        try outcome.get()
    }

    /// Ends the run: `run` throws this after the present job.
    public func fail(_ error: any Error) { failure = failure ?? error }

    /// A new process. Its jobs run from now on.
    public func makeProcess(_ name: String) -> SimulatedProcess {
        lastProcess += 1
        let process = SimulatedProcess(id: lastProcess, name: name)
        process.scheduler = self
        return process
    }

    // MARK: Time

    public typealias TimerID = UInt64

    /// Calls `body` after this time, as `process`: never once that has ended, and when a stopped one goes on.
    @discardableResult
    public func after(
        _ nanoseconds: UInt64, as process: SimulatedProcess? = nil, _ body: @escaping () -> Void
    ) -> TimerID {
        lastTimer += 1
        timers.insert(
            due: now &+ nanoseconds, id: lastTimer, Work(process: process ?? current, body: .call(body)))
        return lastTimer
    }
    public func cancel(_ timer: TimerID) { timers.remove(timer) }

    /// Lets time pass; throws `CancellationError` when the task is cancelled meanwhile.
    public func sleep(_ nanoseconds: UInt64) async throws {
        let sleeper = Sleeper(self)
        try await withTaskCancellationHandler {
            try await withUnsafeThrowingContinuation { sleeper.begin(nanoseconds, $0) }
        } onCancel: {
            sleeper.cancel()
        }
    }

    /// A delay between the two, short ones more often than long ones.
    public func delay(_ least: UInt64, _ most: UInt64) -> UInt64 {
        guard most > least else { return least }
        let share = Double(random.next() >> 11) / Double(1 << 53)
        return least + UInt64(Double(most - least) * share * share * share)
    }
    public func chance(_ probability: Double) -> Bool {
        probability > 0 && Double(random.next() >> 11) / Double(1 << 53) < probability
    }

    // MARK: The loop

    /// Runs `body` as another process: what it makes ready is that one's.
    func enter<R>(_ process: SimulatedProcess, _ body: () throws -> R) rethrows -> R {
        let before = current
        current = process
        defer { current = before }
        return try body()
    }

    fileprivate func enqueue(_ job: SimulationJob) { ready.append(Work(process: current, body: .job(job))) }
    func enqueue(_ work: [Work]) { ready += work }

    private func step() throws {
        while let due = timers.nextDue, due <= now { fire() }
        while readyStart == ready.count {
            guard let due = timers.nextDue else {
                throw Stuck("nothing is ready and nothing sleeps, but the run has not ended: a deadlock")
            }
            now = max(now, due)
            while let due = timers.nextDue, due <= now { fire() }
        }
        beforeStep?()
        run(take())
        steps += 1
        // A job takes time, so that timers come due between two that are ready.
        now += random.next() & 0x3fff
    }

    private func fire() {
        let work = timers.removeFirst()
        trace.fold(now)
        run(work)
    }

    private func take() -> Work {
        let index = chooseIndex()
        let work = ready[index]
        if index == readyStart {
            readyStart += 1
            if readyStart > 256 {
                ready.removeFirst(readyStart)
                readyStart = 0
            }
        } else {
            ready.remove(at: index)
        }
        return work
    }
    private func chooseIndex() -> Int {
        let count = ready.count - readyStart
        let draw = random.next()
        let any = readyStart + Int((draw >> 8) % UInt64(count))
        switch order {
        case .anyOf: return any
        case .oldestFirst: return readyStart
        case .mostlyOldest: return draw & 0xff < 25 ? any : readyStart
        case .mostlyNewest: return draw & 0xff < 50 ? any : ready.count - 1
        }
    }

    private func run(_ work: Work) {
        let process = work.process
        trace.fold(UInt64(process.id) << 32 | UInt64(truncatingIfNeeded: ready.count))
        switch process.state {
        case .ended: return
        case .stopped: process.held.append(work)
        case .running:
            current = process
            switch work.body {
            case .job(let job): simulation_run_job(job)
            case .call(let body): body()
            }
            current = world
        }
    }

    private static func capture() {
        let missing = simulation_capture_jobs { job in
            guard let job else { return }
            guard let scheduler = Scheduler.running else { preconditionFailure("a task outside of a simulation") }
            scheduler.enqueue(job)
        }
        precondition(missing == 0, "this Swift runtime lacks hook \(missing)")
        SimulatedThreads.capture()
    }
}

/// Nothing can go on.
public struct Stuck: Error, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}

/// A task that sleeps.
private final class Sleeper: @unchecked Sendable {
    private let scheduler: Scheduler
    private var continuation: UnsafeContinuation<Void, any Error>?
    private var timer: Scheduler.TimerID = 0
    private var isCancelled = false
    init(_ scheduler: Scheduler) { self.scheduler = scheduler }

    func begin(_ nanoseconds: UInt64, _ continuation: UnsafeContinuation<Void, any Error>) {
        guard !isCancelled else { return continuation.resume(throwing: CancellationError()) }
        self.continuation = continuation
        timer = scheduler.after(nanoseconds) { self.finish(.success(())) }
    }
    func cancel() {
        isCancelled = true
        scheduler.cancel(timer)
        finish(.failure(CancellationError()))
    }
    private func finish(_ result: Result<Void, any Error>) {
        guard let continuation else { return }
        self.continuation = nil
        continuation.resume(with: result)
    }
}
