import CSimulationRandom
import Glibc
import Simulation
import StoreCore

simulation_seed_random(7)
print(UInt64.random(in: .min ... .max), UInt128.random(in: .min ... .max))
let scheduler = Scheduler(seed: 1, trace: Trace(linesMax: 100, printsLines: true))
try scheduler.run {
    try await withThrowingTaskGroup(of: Void.self) { group in
        for i in 0..<4 {
            group.addTask {
                try await scheduler.sleep(UInt64(i) * 1000); scheduler.note("task \(i)"); await Task.yield()
            }
        }
        try await group.waitForAll()
    }
    let host = SimulatedHost("a", scheduler: scheduler)
    let process = host.start()
    let n = try await process.run {
        try await scheduler.sleep(1_000_000); scheduler.note("in process"); return 5
    }
    scheduler.note("n \(n)")
}
print(scheduler.trace.hash)
