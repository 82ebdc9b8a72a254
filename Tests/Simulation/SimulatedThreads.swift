import CSimulationThreads

/// The threads that the code under test starts. Each belongs to the process that started it, and is one more thing that
/// can be ready: the scheduler chooses when it runs, and stands still until it waits or ends. So no two of anything run
/// at once, a stopped process's threads stand still, and a killed one's end where they are.
final class SimulatedThreads {
    unowned var scheduler: Scheduler! = nil
    private var owners: [UInt64: SimulatedProcess] = [:]

    static func capture() {
        simulation_capture_threads { thread, isNew in
            guard let scheduler = Scheduler.running else { preconditionFailure("a thread outside of a simulation") }
            if isNew { scheduler.threads.adopt(thread) }
            scheduler.threads.makeReady(thread)
        }
    }

    private func adopt(_ thread: UInt64) {
        let process = scheduler.current
        owners[thread] = process
        // Not at once: whoever kills may be one of these threads.
        process.onEnd { [unowned self] in
            scheduler.enqueue([Scheduler.Work(process: scheduler.world, body: .call { self.end(thread) })])
        }
    }
    private func makeReady(_ thread: UInt64) {
        guard let process = owners[thread] else { return }
        scheduler.enqueue([Scheduler.Work(process: process, body: .call { self.run(thread) })])
    }
    private func run(_ thread: UInt64) {
        guard let process = owners[thread] else { return }
        if !simulation_run_thread(thread) { owners[thread] = nil }
        // It did not notice that its process was killed by what it did.
        if !process.isAlive { end(thread) }
    }
    private func end(_ thread: UInt64) {
        guard owners.removeValue(forKey: thread) != nil else { return }
        simulation_end_thread(thread)
    }
    /// The run is over.
    func endAll() {
        for thread in owners.keys.sorted() { end(thread) }
    }
}
