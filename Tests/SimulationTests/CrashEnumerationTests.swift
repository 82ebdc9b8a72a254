import Testing

/// Each workload recorded, and crashes all over it recovered and checked: `zerofs-sim --enumerate` in its short form. A
/// program of its own, because a simulation takes the whole process. All of them: `zerofs-sim --enumerate --all`.
@Suite(.serialized) struct EveryCrashIsRecovered {
    @Test(.timeLimit(.minutes(15)))
    func someOfEachWorkload() async throws {
        let ending = try await Simulator.run("--enumerate --recoveries 30")
        #expect(ending.code == 0, "\(ending.output)")
        #expect(ending.output.contains("all sound"), "\(ending.output)")
    }
}

/// A judge that finds everything sound is none: what no crash may cause is planted, and must be reported.
@Suite(.serialized, .timeLimit(.minutes(10))) struct PlantedLossesAreNoticed {
    private static let losses = ["segment", "catalog", "run", "journal"]

    @Test(arguments: losses) func each(loss: String) async throws {
        let ending = try await Simulator.run("--enumerate snapshots --recoveries 10 --depth 1 --plant \(loss)")
        #expect(ending.code == 1, "\(ending.output)")
        #expect(ending.output.contains("  FAILED --enumerate snapshots "), "\(ending.output)")
    }

    @Test func andNothingElse() async throws {
        let sound = try await Simulator.run("--enumerate snapshots --recoveries 10 --depth 1")
        #expect(sound.code == 0 && !sound.output.contains("FAILED"), "\(sound.output)")
        let usage = try await Simulator.run("--enumerate snapshots --plant another")
        #expect(usage.output.contains("\(Self.losses)"), "\(usage.output)")
    }
}
