import Testing

/// Each workload recorded, and crashes all over it recovered and checked: `zerofs-sim --enumerate` in its short form. A
/// program of its own, because a simulation takes the whole process. All of them: `zerofs-sim --enumerate --all`.
@Suite(.serialized) struct EveryCrashIsRecovered {
    @Test(.timeLimit(.minutes(5)))
    func someOfEachWorkload() async throws {
        let ending = try await Simulator.run("--enumerate --recoveries 30")
        #expect(ending.code == 0, "\(ending.output)")
        #expect(ending.output.contains("all sound"), "\(ending.output)")
    }
}
