import StoreCore

/// A process of the simulation: a server with its tasks, timers and requests. Killed, it does nothing ever again: its
/// jobs are dropped where they stand, as by SIGKILL. Stopped, it holds still while the others go on, as by SIGSTOP.
public final class SimulatedProcess: @unchecked Sendable {
    public enum State: Sendable { case running, stopped, ended }

    public let id: Int
    public let name: String
    public private(set) var state = State.running
    unowned var scheduler: Scheduler! = nil
    /// What came due while it was stopped.
    var held: [Scheduler.Work] = []
    /// Cut the next `store` of this process into a file, and kill it there.
    public var diesInNextStore = false
    private var calls: [UInt64: (any Error) -> Void] = [:]
    private var lastCall: UInt64 = 0
    private var endHandlers: [() -> Void] = []

    init(id: Int, name: String) {
        self.id = id
        self.name = name
    }

    public var isAlive: Bool { state != .ended }

    /// Runs `body` as a task of this process and returns what it returns. Throws `ProcessEnded` when the process is
    /// killed before that; what it did then is not known to the caller.
    public func run<R: Sendable>(_ body: @escaping @Sendable () async throws -> R) async throws -> R {
        guard isAlive else { throw ProcessEnded() }
        let caller = scheduler.current
        return try await withUnsafeThrowingContinuation { (continuation: UnsafeContinuation<R, any Error>) in
            lastCall += 1
            let number = lastCall
            calls[number] = { error in self.scheduler.enter(caller) { continuation.resume(throwing: error) } }
            scheduler.enter(self) {
                _ = Task {
                    let result: Result<R, any Error>
                    do { result = .success(try await body()) } catch { result = .failure(error) }
                    guard self.calls.removeValue(forKey: number) != nil else { return }
                    self.scheduler.enter(caller) { continuation.resume(with: result) }
                }
            }
        }
    }

    /// SIGKILL. Whoever waits for it is told; its requests that are under way may still take effect.
    public func kill() {
        guard isAlive, self !== scheduler.world else { return }
        scheduler.note("\(name) is killed")
        state = .ended
        held = []
        for handler in endHandlers { handler() }
        endHandlers = []
        let waiting = calls.sorted { $0.key < $1.key }
        calls = [:]
        for (_, call) in waiting { call(ProcessEnded()) }
    }
    /// Called when the process is killed.
    func onEnd(_ body: @escaping () -> Void) { endHandlers.append(body) }

    /// SIGSTOP.
    public func stop() {
        guard state == .running else { return }
        scheduler.note("\(name) is stopped")
        state = .stopped
    }
    /// SIGCONT: everything that came due meanwhile comes now.
    public func resume() {
        guard state == .stopped else { return }
        scheduler.note("\(name) goes on")
        state = .running
        scheduler.enqueue(held)
        held = []
    }
}

/// The process was killed meanwhile.
public struct ProcessEnded: Error {}

/// A process's clock: virtual time for waiting, and a wall clock that a test may set.
struct SimulatedClock: TimeSource {
    let process: SimulatedProcess
    let host: SimulatedHost

    /// 2026-01-01.
    private static let beginning: Int64 = 1_767_225_600_000_000_000

    func now() -> Timestamp {
        Timestamp(nanoseconds: Self.beginning + Int64(process.scheduler.now) + host.clockOffset)
    }
    func monotonicNanoseconds() -> UInt64 { process.scheduler.now }
    func sleep(for duration: Duration) async throws {
        let (seconds, attoseconds) = duration.components
        let nanoseconds = max(0, seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
        try await process.scheduler.sleep(UInt64(nanoseconds))
    }
}
