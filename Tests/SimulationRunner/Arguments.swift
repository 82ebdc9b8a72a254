import CSimulationRandom
import Glibc
import Simulation

/// What the command line asks for.
struct Arguments {
    private static let usage = """
        usage: zerofs-sim [--scenario NAME] [--seed N | --seeds A..B] [--minutes M] [--trace] [--go-on]
                          [--check-determinism] [--list]

          --seed N              one seed
          --seeds A..B          seeds A to B, both included; 1..100 by default
          --minutes M           go on with the seeds after these until M minutes have passed
          --scenario NAME       one interleaving instead of any; --list prints their names
          --trace               print what happens
          --go-on               do not stop at the first seed that fails
          --check-determinism   run each seed twice and compare
        """
    private var seeds: ClosedRange<UInt64> = 1...100
    private var scenario: Scenario?
    private var lists = false
    private var minutes: Double?
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
            case "--list": lists = true
            case "--trace": traces = true
            case "--go-on": goesOn = true
            case "--check-determinism": checksDeterminism = true
            default: throw wrong("what is \(word)?")
            }
        }
    }

    /// Returns the exit code: 1 when a seed failed.
    func run() -> Int32 {
        if lists {
            for scenario in Scenario.all { print(scenario.name) }
            return 0
        }
        var report = Report()
        let began = time(nil)
        var seed = seeds.lowerBound
        while isDue(seed, since: began) {
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
            seed += 1
        }
        report.print(seconds: Double(time(nil) - began))
        return report.failures.isEmpty ? 0 : 1
    }

    private func isDue(_ seed: UInt64, since began: time_t) -> Bool {
        guard let minutes else { return seed <= seeds.upperBound }
        return Double(time(nil) - began) < minutes * 60
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
