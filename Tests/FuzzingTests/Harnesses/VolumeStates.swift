import BlockMap
import StoreCore

@testable import Snapshots

extension Harness {
    static let volumeStates: [Harness] = [
        Harness(
            name: "manifest",
            seeds: { [try manifest(runs: 2).encoded(), try manifest(runs: 0).encoded()] },
            body: { input in
                let manifest = try Manifest(decoding: input, object: "manifest")
                require(
                    try Manifest(decoding: manifest.encoded(), object: "again") == manifest,
                    "a manifest is written as it was read")
                examine(manifest.state)
            }),
        Harness(
            name: "pinned-version",
            seeds: {
                [
                    PinnedVersion(
                        volume: Fixtures.volume, epoch: Epoch(4), state: try manifest(runs: 3).state,
                        created: Fixtures.time
                    ).encoded()
                ]
            },
            body: { input in
                let version = try PinnedVersion(decoding: input, object: "version")
                require(
                    try PinnedVersion(decoding: version.encoded(), object: "again") == version,
                    "a version is written as it was read")
                examine(version.state)
            }),
    ]

    /// What the engine does with a state as soon as it has one.
    private static func examine(_ state: VolumeState) {
        _ = (state.map.byteCount, state.covered.sequence.value, state.startingNewVolume())
        for run in state.map.allRuns { _ = (run.key, run.range.end) }
    }

    private static func manifest(runs: UInt64) throws -> Manifest {
        let references = try (0..<runs).map { try Fixtures.run(1 + 7 * $0).reference }
        let state = VolumeState(
            sizeBytes: 10 << 30, covered: LogPosition(epoch: Epoch(2), sequence: SegmentSequence(300)),
            coveredHash: Digest(high: 1, low: 2), coveredWrite: WriteSequence(70_000), coveredTime: Fixtures.time,
            map: MapLayout(levels: runs == 0 ? [] : [references, Array(references.prefix(1))]))
        return Manifest(
            volume: Fixtures.volume, number: 5, epoch: Epoch(4),
            owner: Owner(token: OwnerToken(0xaa), host: "db1", isReleased: true, since: Fixtures.time),
            openEpochs: [Epoch(4)], closedEpochs: [ClosedEpoch(epoch: Epoch(3), end: SegmentSequence(9))], state: state,
            parent: VolumeID(7), firstNumberKept: 2, recentOperations: [Fixtures.operation], created: Fixtures.time,
            isTombstone: false)
    }
}
