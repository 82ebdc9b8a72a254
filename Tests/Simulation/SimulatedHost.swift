public import StoreCore

/// A machine: a disk, a clock, and the processes that run on it one after the other.
public final class SimulatedHost: @unchecked Sendable {
    public let name: String
    public let disk: SimulatedDisk
    /// How far its wall clock is off, in nanoseconds; a test may set it at any time.
    public var clockOffset: Int64 = 0
    private let scheduler: Scheduler
    private var processes: [SimulatedProcess] = []
    private var starts = 0

    public init(_ name: String, scheduler: Scheduler) {
        self.name = name
        self.scheduler = scheduler
        disk = SimulatedDisk(scheduler: scheduler)
    }

    /// Starts a process.
    public func start() -> SimulatedProcess {
        starts += 1
        processes.removeAll { !$0.isAlive }
        let process = scheduler.makeProcess("\(name).\(starts)")
        processes.append(process)
        return process
    }
    /// What an engine of that process takes for its machine.
    public func machine(of process: SimulatedProcess) -> Machine {
        let disk = MountedDisk(disk, process: process)
        return Machine(
            time: SimulatedClock(process: process, host: self), disk: disk, cacheDisk: disk, workers: .inline(),
            host: name)
    }

    /// Power loss: every process ends, and of what was not synced the disk keeps anything or nothing.
    public func crash() {
        for process in processes { process.kill() }
        processes = []
        scheduler.note("\(name) loses its power")
        disk.crash()
    }
    /// The disk is lost with everything on it; the host starts again with an empty one.
    public func loseDisk() {
        for process in processes { process.kill() }
        processes = []
        scheduler.note("\(name) loses its disk")
        disk.lose()
    }
}
