import Glibc
import StoreCore
import Testing

/// Rules R1 to R6 over whole runs: servers, clients, commands, faults, kills, crashes and rivals, all from one seed.
/// ZEROFS_SIM_SEEDS=A..B runs others.
@Suite struct PromisesHold {
    private static let seeds = getenv("ZEROFS_SIM_SEEDS").map { String(cString: $0) } ?? "1..60"

    @Test func whateverASeedDoes() async throws {
        let ending = try await Simulator.run("--seeds", Self.seeds)
        #expect(ending.code == 0, "\(ending.output)")
    }

    /// Else a seed that fails could not be looked into.
    @Test func aSeedIsARun() async throws {
        let ending = try await Simulator.run("--seeds 101..106 --check-determinism")
        #expect(ending.code == 0, "\(ending.output)")
    }

    /// One for each "because" of the protocols (docs/format.md, docs/architecture.md).
    @Test(arguments: [
        "opener-crashes-between-claim-and-fence", "paused-writer-acknowledges-across-a-hole",
        "rival-builds-on-my-commit", "stalled-writer-wins-a-deleted-slot", "unnamed-objects-of-a-stalled-creator",
        "old-timeline-in-the-journal", "run-names-a-sealed-segment-only", "rollback-is-killed", "delete-races-open",
        "two-open-at-once", "superseded-server-ends",
    ])
    func alsoWhen(scenario: String) async throws {
        let ending = try await Simulator.run("--scenario", scenario, "--seeds 1..4")
        #expect(ending.code == 0, "\(ending.output)")
    }

    @Test func everyScenarioIsTested() async throws {
        let ending = try await Simulator.run("--list")
        #expect(ending.output.split(separator: "\n").count == 11, "a scenario that is new goes into the list above")
    }
}
