import CSimulationRandom
import Glibc
import Simulation

/// What the command line asks for.
struct Arguments {
    private static let usage = """
        usage: zerofs-sim [--scenario NAME] [--seed N | --seeds A..B] [--minutes M] [--jobs N] [--trace] [--go-on]
                          [--check-determinism] [--list]
               zerofs-sim --enumerate [WORKLOAD] [--all | --recoveries N] [--depth 1|2] [--seed N] [--plant LOSS]
                          [--state STATE]

          --seed N              one seed
          --seeds A..B          seeds A to B, both included; 1..100 by default
          --minutes M           go on with the seeds after these until M minutes have passed
          --jobs N              so many processes at once; each takes 100 seeds and ends
          --scenario NAME       one interleaving instead of any; --list prints their names
          --trace               print what happens
          --go-on               do not stop at the first seed that fails
          --check-determinism   run each seed twice and compare

          --enumerate           record each workload (or one), and recover the crashes that it could have met
          --recoveries N        about so many of each workload, evenly chosen: 1000 by default; --all: all
          --depth 2             also crashes in the midst of some recoveries (the default); 1: not these
          --plant LOSS          spoil every state with a loss that no crash may cause: it must be found
          --state STATE         one crash again, as a failure printed it, with what happens
        """
    private var seeds: ClosedRange<UInt64> = 1...100
    private var scenario: Scenario?
    private var lists = false
    private var minutes: Double?
    private var jobs = 1
    /// In a batch: the sums for who began it.
    private var printsSums = false
    private var traces = false
    private var goesOn = false
    private var checksDeterminism = false

    struct Wrong: Error, CustomStringConvertible {
        let description: String
    }

    init(_ words: ArraySlice<String>) throws {
        var words = words
        func wrong(_ text: String) -> Wrong { Wrong(description: "\(text)\n\(Self.usage)") }
        while let word = words.popFirst() {
            switch word {
            case "--seed":
                guard let text = words.popFirst(), let seed = UInt64(text) else { throw wrong("--seed wants a number") }
                seeds = seed...seed
            case "--seeds":
                let ends = words.popFirst()?.split(separator: ".").compactMap { UInt64($0) } ?? []
                guard ends.count == 2, ends[0] <= ends[1] else { throw wrong("--seeds wants A..B") }
                seeds = ends[0]...ends[1]
            case "--minutes":
                guard let text = words.popFirst(), let value = Double(text) else {
                    throw wrong("--minutes wants a number")
                }
                minutes = value
            case "--scenario":
                let name = words.popFirst()
                scenario = Scenario.all.first { $0.name == name }
                guard scenario != nil else { throw wrong("there is no scenario \(name ?? "")") }
            case "--jobs":
                guard let text = words.popFirst(), let value = Int(text), 1...1024 ~= value else {
                    throw wrong("--jobs wants a number")
                }
                jobs = value
            case "--sums": printsSums = true
            case "--list": lists = true
            case "--trace": traces = true
            case "--go-on": goesOn = true
            case "--check-determinism": checksDeterminism = true
            case "-h", "--help":
                print(Self.usage)
                exit(0)
            default: throw wrong("what is \(word)?")
            }
        }
    }

    /// Returns the exit code: 1 when a seed failed.
    func run() throws -> Int32 {
        if lists {
            for scenario in Scenario.all { print(scenario.name) }
            return 0
        }
        let began = time(nil)
        let isMany = UInt64(seeds.count) > Batches.seedsInBatch || minutes != nil || jobs > 1
        let report = isMany && !printsSums ? try batches(began) : oneByOne()
        if printsSums { report.printSums() } else { report.print(seconds: Double(time(nil) - began)) }
        return report.failures.isEmpty ? 0 : 1
    }

    private func batches(_ began: time_t) throws -> Report {
        var words = scenario.map { ["--scenario", $0.name] } ?? []
        if traces { words.append("--trace") }
        if goesOn { words.append("--go-on") }
        if checksDeterminism { words.append("--check-determinism") }
        var batches = Batches(words: words, jobs: jobs, goesOn: goesOn, end: minutes.map { began + time_t($0 * 60) })
        // Small ones where time is short, or where there are few for each process.
        if minutes != nil { batches.size = 20 }
        batches.size = min(batches.size, (UInt64(seeds.count) + UInt64(jobs) - 1) / UInt64(jobs))
        return try batches.run(from: seeds.lowerBound, to: minutes == nil ? seeds.upperBound : .max)
    }

    private func oneByOne() -> Report {
        var report = Report()
        for seed in seeds {
            if printsSums { print("\(Report.mark)at\t\(seed)") }
            fflush(nil)
            let result = once(seed, lines: 0)
            report.add(result)
            if checksDeterminism, once(seed, lines: 0).hash != result.hash {
                report.failures.append(seed)
                print("seed \(seed): two runs differ")
            }
            if result.failure != nil {
                explain(result)
                if !goesOn { break }
            }
        }
        return report
    }

    private func once(_ seed: UInt64, lines: Int) -> SeedRun {
        simulation_seed_random(seed)
        return SeedRun.run(seed: seed, scenario: scenario, linesMax: lines, printsLines: traces)
    }

    /// The same seed again, this time with its lines.
    private func explain(_ result: SeedRun) {
        print("seed \(result.seed) failed after \(result.steps) steps, \(result.seconds) virtual seconds:")
        print("  \(result.failure ?? "")")
        guard !traces else { return }
        let words = scenario.map { "--scenario \($0.name) " } ?? ""
        print("the last lines of its trace (all of it: zerofs-sim \(words)--seed \(result.seed) --trace):")
        for line in once(result.seed, lines: 60).lines.suffix(60) { print("    \(line)") }
    }
}

/// Sums over seeds.
struct Report {
    var runs = 0
    var steps: UInt64 = 0
    var virtualSeconds = 0.0
    var counts: [String: Int] = [:]
    var faults: [String: Int] = [:]
    var failures: [UInt64] = []

    mutating func add(_ run: SeedRun) {
        runs += 1
        steps += run.steps
        virtualSeconds += run.seconds
        counts.merge(run.counts, uniquingKeysWith: +)
        faults.merge(run.faults, uniquingKeysWith: +)
        if run.failure != nil { failures.append(run.seed) }
    }

    func print(seconds: Double) {
        Swift.print(
            "\(runs) seeds, \(steps) steps, \(Int(virtualSeconds)) virtual seconds in \(Int(seconds)) s;",
            failures.isEmpty ? "all passed" : "\(failures.count) failed: \(failures)")
        Swift.print("done: " + line(counts))
        Swift.print("faults: " + line(faults))
    }
    private func line(_ counts: [String: Int]) -> String {
        counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", ")
    }
}
