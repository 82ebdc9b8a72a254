import Simulation

/// How much of the crashes of a recording is looked at.
public struct EnumerationOptions: Sendable {
    var bounds = SubsetBounds()
    /// Recoveries that are run for a workload, at most; evenly chosen. nil: all.
    public var recoveriesMax: Int?
    /// Every so many recoveries is recorded itself, and crashes in the midst of it are recovered. 0: none.
    public var secondLevelEvery: UInt64 = 0
    /// Moments of a recording that are looked at, about, evenly chosen; nil: all.
    var momentsMax: Int?
    /// Of one second level.
    public var secondLevelMax = 60
    public var seed: UInt64 = 1
    public var failuresMax = 5
    /// Spoils every state before it is recovered, to see that the judge notices.
    var planted: PlantedLoss?
    public init() {}
}

/// What was looked at.
public struct EnumerationReport: Sendable {
    public struct Failure: Sendable {
        /// Names the crash: `zerofs-sim --enumerate WORKLOAD --state ID` makes it again.
        public var state: String
        public var problem: String
    }
    public var workload = ""
    public var events = 0
    public var mutations = 0
    /// Crashes that were made up and judged, by kind.
    public var states: [String: Int] = [:]
    /// Of which so many left something that no other did, and were recovered by an engine.
    public var recoveries: [String: Int] = [:]
    /// Crashes in the midst of a recovery.
    public var secondLevelStates = 0
    public var secondLevelRecoveries = 0
    public var failures: [Failure] = []

    public var stateCount: Int { states.values.reduce(0, +) + secondLevelStates }
    public var recoveryCount: Int { recoveries.values.reduce(0, +) + secondLevelRecoveries }
}

/// Goes through every moment of a recording and every crash of it.
final class Enumeration {
    let recording: Recording
    let options: EnumerationOptions
    private(set) var report = EnumerationReport()
    private var known: [UInt64: Observation] = [:]
    private let names: Set<String>
    /// One in so many of the distinct states of a kind is recovered.
    private var strides: [CrashKind: UInt64] = [:]

    init(_ recording: Recording, _ options: EnumerationOptions) {
        self.recording = recording
        self.options = options
        names = Recovery.names(of: recording)
        report.workload = recording.name
        report.events = recording.events.count
        report.mutations = recording.mutations.count
    }

    func run() -> EnumerationReport {
        if let most = options.recoveriesMax { chooseStrides(most) }
        if recording.volumes.contains(where: \.wronglyAcknowledged) {
            fail("-", "a writer that had lost the volume was told that its flush succeeded")
        }
        forEachMoment { moment in
            var expectations: [String: Expectation] = [:]
            moment.forEachCrash(options.bounds) { crash in
                guard report.failures.count < options.failuresMax else { return }
                guard let observation = observation(moment, crash) else { return }
                report.states[crash.kind.rawValue, default: 0] += 1
                let place = "\(crash.kind) \(crash.host)"
                let expectation =
                    expectations[place]
                    ?? Expectation(recording.volumes, at: crash.point, crash.kind, on: crash.host)
                expectations[place] = expectation
                if let problem = observation.problem ?? expectation.judge(observation.contents) {
                    fail(crash.description, problem)
                }
            }
            return report.failures.count < options.failuresMax
        }
        return report
    }

    /// Recovers one crash, and judges it. `rest` are crashes in the midst of its recovery.
    func replay(_ crash: Crash, _ rest: ArraySlice<Crash>, trace: Trace) throws -> (Observation, String?) {
        var result: (Observation, String?) = (Observation(), "the recording has no such event")
        try forEachMoment { moment in
            guard moment.point == crash.point else { return moment.point < crash.point }
            if let next = rest.first {
                let second = try SecondLevel(recording: recording, crash: crash, moment: moment).record()
                second.printEvents(before: next)
                result = try Enumeration(second, options).replay(next, rest.dropFirst(), trace: trace)
                return false
            }
            let expectation = Expectation(recording.volumes, at: crash.point, crash.kind, on: crash.host)
            let state = moment.state(after: crash)
            let observation = Recovery(state: state, blocks: recording.blocks, names: names, trace: trace).run()
            result = (observation, observation.problem ?? expectation.judge(observation.contents))
            return false
        }
        return result
    }

    private func fail(_ state: String, _ problem: String) {
        report.failures.append(EnumerationReport.Failure(state: state, problem: problem))
    }
    /// What recovering this crash, or one that leaves the same, finds; nil where it is not looked at.
    private func observation(_ moment: Moment, _ crash: Crash) -> Observation? {
        let identity = moment.identity(of: crash)
        if let observation = known[identity] { return observation }
        guard StoreTracker.mix(identity ^ options.seed) % strides[crash.kind, default: 1] == 0 else { return nil }
        var state = moment.state(after: crash)
        options.planted?.spoil(&state)
        let observation = Recovery(state: state, blocks: recording.blocks, names: names).run()
        known[identity] = observation
        report.recoveries[crash.kind.rawValue, default: 0] += 1
        lookDeeper(moment, crash, identity)
        return observation
    }

    /// Crashes while this one is being recovered.
    private func lookDeeper(_ moment: Moment, _ crash: Crash, _ identity: UInt64) {
        guard options.secondLevelEvery > 0, StoreTracker.mix(identity) % options.secondLevelEvery == 0 else { return }
        var deeper = options
        deeper.secondLevelEvery = 0
        deeper.recoveriesMax = options.secondLevelMax
        deeper.failuresMax = 2
        deeper.bounds = SubsetBounds(exhaustiveMax: 4, samples: 4, familyMax: 12)
        do {
            let recording = try SecondLevel(recording: recording, crash: crash, moment: moment).record()
            let second = Enumeration(recording, deeper).run()
            report.secondLevelStates += second.states.values.reduce(0, +)
            report.secondLevelRecoveries += second.recoveries.values.reduce(0, +)
            for failure in second.failures { fail("\(crash)/\(failure.state)", failure.problem) }
        } catch {
            fail("\(crash)/-", "the recovery could not be recorded: \(error)")
        }
    }

    /// Each kind gets a third, and what another does not use. How many crashes leave something that no other does is
    /// counted in some of the moments.
    private func chooseStrides(_ most: Int) {
        let step = options.momentsMax == nil && recording.events.count > 100 ? 8 : 1
        var counts: [CrashKind: Int] = [:]
        var identities: Set<UInt64> = []
        forEachMoment { moment in
            guard moment.point % step == 0 else { return true }
            identities = step == 1 ? identities : []
            moment.forEachCrash(options.bounds) { crash in
                if identities.insert(moment.identity(of: crash)).inserted { counts[crash.kind, default: 0] += step }
            }
            return true
        }
        var left = most
        var kinds = CrashKind.allCases.sorted { counts[$0, default: 0] < counts[$1, default: 0] }
        while !kinds.isEmpty {
            let kind = kinds.removeFirst()
            // Neighbouring moments have states in common.
            let count = counts[kind, default: 0] / (step == 1 ? 1 : 2)
            let share = max(left / (kinds.count + 1), 1)
            strides[kind] = UInt64(max(1, count / share))
            left -= min(count, share)
        }
    }
    private func forEachMoment(_ body: (Moment) throws -> Bool) rethrows {
        var moment = Moment(recording)
        let step = max(1, recording.events.count / (options.momentsMax ?? .max))
        while true {
            if moment.point % step == 0, try !body(moment) { return }
            guard moment.point < recording.events.count else { return }
            moment.advance()
        }
    }
}
