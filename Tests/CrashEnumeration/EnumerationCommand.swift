import Glibc
import Simulation

/// `zerofs-sim --enumerate [WORKLOAD] [--all | --recoveries N] [--depth 1|2] [--seed N] [--state ID]`: records each
/// workload (or one), makes up the crashes that it could have met, recovers and judges them.
///
/// - `--recoveries`: about so many of each workload, evenly chosen; 1000 by default. `--all`: all of them.
/// - `--depth 2`, the default: crashes in the midst of some recoveries are recovered as well.
/// - `--plant`: spoils every state with a loss that no crash may cause; then the enumeration must fail.
/// - `--state`: makes one crash again, as a failure printed it, and prints what happens.
public struct EnumerationCommand {
    var workloads = Workload.all
    var state: [Crash] = []
    var options = EnumerationOptions()

    /// - Parameter arguments: what follows `--enumerate`.
    public init(_ arguments: [String]) throws {
        options.recoveriesMax = 1000
        options.secondLevelEvery = 50
        var rest = arguments[...]
        func number(_ option: String) throws -> UInt64 {
            guard let text = rest.popFirst(), let number = UInt64(text) else {
                throw UsageError("\(option) wants a number")
            }
            return number
        }
        while let argument = rest.popFirst() {
            switch argument {
            case "--all": options.recoveriesMax = nil
            case "--recoveries": options.recoveriesMax = Int(try number(argument))
            case "--seed": options.seed = try number(argument)
            case "--depth": options.secondLevelEvery = try number(argument) > 1 ? 50 : 0
            case "--plant":
                guard let loss = rest.popFirst().flatMap(PlantedLoss.init(rawValue:)) else {
                    throw UsageError("--plant wants one of \(PlantedLoss.allCases.map(\.rawValue))")
                }
                options.planted = loss
            case "--state":
                state = (rest.popFirst() ?? "").split(separator: "/").compactMap { Crash(parsing: String($0)) }
                guard !state.isEmpty else { throw UsageError("--state wants what a failure printed") }
            default:
                guard let workload = Workload.named(argument) else {
                    throw UsageError("there is no workload \(argument): \(Workload.all.map(\.name))")
                }
                workloads = [workload]
            }
        }
        // A short run looks at fewer moments and losses, so that it does not spend its time on counting them.
        if let most = options.recoveriesMax, most <= 200 {
            options.bounds = SubsetBounds(exhaustiveMax: 5, samples: 4, familyMax: 16)
            options.momentsMax = 60
        }
        if !state.isEmpty, workloads.count != 1 { throw UsageError("--state wants the workload") }
    }

    /// Returns whether all was well.
    public func run() throws -> Bool {
        if let crash = state.first { return try replay(crash) }
        var isGood = true
        var all = (states: 0, recoveries: 0)
        for workload in workloads {
            let start = seconds()
            let report = Enumeration(try Recording.make(workload, seed: options.seed), options).run()
            printReport(report, seconds() - start)
            isGood = isGood && report.failures.isEmpty
            all = (all.states + report.stateCount, all.recoveries + report.recoveryCount)
        }
        print("crash states \(all.states), recoveries \(all.recoveries), \(isGood ? "all sound" : "FAILED")")
        return isGood
    }

    private func printReport(_ report: EnumerationReport, _ time: Double) {
        let kinds = CrashKind.allCases.map { kind in
            "\(kind) \(report.states[kind.rawValue] ?? 0)/\(report.recoveries[kind.rawValue] ?? 0)"
        }.joined(separator: "  ")
        print(
            """
            \(report.workload): events \(report.events)  mutations \(report.mutations)  states/recoveries: \(kinds)  \
            in recovery \(report.secondLevelStates)/\(report.secondLevelRecoveries)  \(Int(time * 1000)) ms
            """)
        for failure in report.failures {
            print("  FAILED --enumerate \(report.workload) --seed \(options.seed) --state \(failure.state)")
            print("    \(failure.problem)")
        }
        fflush(nil)
    }

    private func replay(_ crash: Crash) throws -> Bool {
        var options = options
        options.momentsMax = nil
        let recording = try Recording.make(workloads[0], seed: options.seed)
        let enumeration = Enumeration(recording, options)
        recording.printEvents(before: crash)
        let (observation, problem) = try enumeration.replay(
            crash, state.dropFirst(), trace: Trace(linesMax: 1, printsLines: true))
        for (name, contents) in observation.contents.sorted(by: { $0.key < $1.key }) { print("\(name): \(contents)") }
        print(problem.map { "FAILED \($0)" } ?? "sound")
        return problem == nil
    }

    private func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }
}

public struct UsageError: Error, CustomStringConvertible {
    public let description: String
    init(_ description: String) { self.description = description }
}

extension Recording {
    func printEvents(before crash: Crash) {
        print("\(name): the last events before \(crash):")
        for index in max(0, crash.point - 60)..<min(crash.point, events.count) {
            print("  \(index) \(text(of: index))")
        }
    }
    /// An event, for people.
    fileprivate func text(of index: Int) -> String {
        switch events[index] {
        case .sent(let number): "sent \(number): \(text(mutations[number]))"
        case .settled(let number): "settled \(number): \(text(mutations[number])), \(mutations[number].tookEffect)"
        case .disk(let host, .stored(let file, let position, let bytes)):
            "host \(host) stores \(bytes.count) bytes at \(position) of file \(file)"
        case .disk(let host, .began(let number, let operation)): "host \(host) begins \(number): \(operation)"
        case .disk(let host, let event): "host \(host) \(event)"
        case .mark: "mark \(marks(at: index))"
        }
    }
    private func text(_ mutation: Mutation) -> String {
        switch mutation.effect {
        case .create(let key, let bytes): "create \(key), \(bytes.count) bytes"
        case .delete(let key): "delete \(key)"
        }
    }
    private func marks(at index: Int) -> String {
        var marks: [String] = []
        for volume in volumes {
            for (number, version) in volume.versions.enumerated() {
                if version.issued == index { marks.append("\(volume.name) write \(number) issued") }
                if version.acknowledged == index { marks.append("\(volume.name) write \(number) acknowledged") }
                if version.flushed == index { marks.append("\(volume.name) write \(number) flushed") }
            }
            for snapshot in volume.snapshots {
                if snapshot.asked.issued == index { marks.append("\(volume.name)@\(snapshot.name) asked for") }
                if snapshot.asked.acknowledged == index { marks.append("\(volume.name)@\(snapshot.name) made") }
            }
        }
        return marks.joined(separator: "; ")
    }
}
