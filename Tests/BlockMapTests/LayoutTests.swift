import Codec
import SegmentLog
import StoreCore
import Testing

@testable import BlockMap

private func run(_ name: UInt64, _ first: UInt64, _ count: UInt64, bytes: UInt64 = 1000) -> RunReference {
    let tree = PageTree(root: PageLocation(position: 32, byteCount: 100), height: 0)
    let contents = RunContents(
        extentCount: 1, range: BlockRange(first: BlockIndex(first), count: count), extents: tree, segmentCount: 1,
        segments: tree)
    return RunReference(
        volume: VolumeID(UInt128(name)), epoch: Epoch(1), contentHash: Digest(high: 0, low: UInt128(name)),
        byteCount: bytes,
        header: ObjectHeader(kind: .run, algorithm: .chaCha20Poly1305, keyID: DataKeyID(1), salt: Salt(5)),
        contents: contents)
}

@Suite struct LayoutOfRuns {
    @Test func newestComesFirst() {
        let layout = MapLayout.empty.adding(level0: run(1, 0, 5)).adding(level0: run(2, 0, 5))
        #expect(layout.levels == [[run(2, 0, 5), run(1, 0, 5)]])
    }

    @Test func readsWhatItWrote() throws {
        let layout = MapLayout(levels: [
            [run(3, 0, 9), run(2, 4, 9)], [run(4, 0, 5), run(5, 5, 1)], [], [run(6, 7, 7)],
        ])
        var writer = ByteWriter()
        layout.encode(into: &writer)
        let bytes = writer.finish()
        var reader = ByteReader(bytes, object: "manifest")
        let decoded = try MapLayout(decoding: &reader, object: "manifest")
        try reader.finish()
        #expect(decoded == layout)
        #expect(decoded.allRuns.map(\.contents) == layout.allRuns.map(\.contents))
        #expect(decoded.allRuns.map(\.header) == layout.allRuns.map(\.header))
        for length in 0..<bytes.count {
            var reader = ByteReader(bytes[..<length], object: "manifest")
            #expect(throws: StorageError.self) { try MapLayout(decoding: &reader, object: "manifest") }
        }
    }

    @Test func refusesOverlapsBelowLevelZero() {
        var writer = ByteWriter()
        MapLayout(levels: [[], [run(1, 0, 6), run(2, 5, 5)]]).encode(into: &writer)
        var reader = ByteReader(writer.finish(), object: "manifest")
        #expect(throws: StorageError.self) { try MapLayout(decoding: &reader, object: "manifest") }
    }

    @Test func anEditAppliesToLaterVersionsOnly() throws {
        let old = MapLayout(levels: [[run(2, 0, 5), run(1, 0, 5)]])
        let edit = CompactionEdit(removed: old.allRuns, added: [run(9, 0, 5)], level: 1)
        let later = old.adding(level0: run(3, 2, 2))
        let result = try later.applying(edit)
        #expect(result.levels == [[run(3, 2, 2)], [run(9, 0, 5)]])
        #expect(throws: StorageError.self) { try result.applying(edit) }
        #expect(throws: StorageError.self) {
            try result.applying(CompactionEdit(removed: [], added: [run(8, 4, 3)], level: 1))
        }
    }
}

@Suite struct CompactionPlansKeepLevelsSound {
    private var policy: CompactionPolicy {
        var policy = CompactionPolicy()
        policy.level1BytesMax = 4000
        policy.sizeRatio = 4
        policy.smallRunBytes = 800
        return policy
    }

    @Test func nothingToDo() {
        #expect(CompactionPlan.next(for: .empty) == nil)
        #expect(CompactionPlan.full(for: .empty) == nil)
        let quiet = MapLayout(levels: [[run(1, 0, 5), run(2, 0, 5)], [run(3, 0, 5)]])
        #expect(CompactionPlan.next(for: quiet, policy: policy) == nil)
        #expect(CompactionPlan.full(for: MapLayout(levels: [[], [run(3, 0, 5)]]), policy: policy) == nil)
    }

    @Test func levelZeroGoesWholeWithWhatItOverlaps() throws {
        let level0 = (1...4).map { run($0, 10 * $0, 15) }
        let layout = MapLayout(levels: [
            level0, [run(5, 0, 10), run(6, 20, 10), run(7, 54, 9), run(8, 70, 9)], [run(9, 60, 50)],
        ])
        let plan = try #require(CompactionPlan.next(for: layout, policy: policy))
        // Their hull is 10..<55.
        #expect(plan.inputs == [level0, [run(6, 20, 10), run(7, 54, 9)]])
        #expect(plan.outputLevel == 1)
        // The hull with run 7 reaches block 63, and run 9 lies below.
        #expect(!plan.dropsZeroes)
    }

    @Test func aLargeLevelGivesItsCheapestRun() throws {
        let layout = MapLayout(levels: [
            [], [run(1, 0, 10, bytes: 2500), run(2, 10, 10, bytes: 2500)],
            [run(3, 0, 10, bytes: 9000), run(4, 12, 3, bytes: 1000)],
        ])
        let plan = try #require(CompactionPlan.next(for: layout, policy: policy))
        #expect(plan.inputs == [[], [run(2, 10, 10)], [run(4, 12, 3)]])
        #expect(plan.outputLevel == 2 && plan.dropsZeroes && plan.movedRun == nil)
    }

    @Test func aRunThatOverlapsNothingMovesByName() throws {
        let layout = MapLayout(levels: [
            [], [run(1, 0, 10, bytes: 2500), run(2, 10, 10, bytes: 2500)], [run(3, 0, 10)],
        ])
        let plan = try #require(CompactionPlan.next(for: layout, policy: policy))
        #expect(plan.movedRun == run(2, 10, 10))
        let moved = try layout.applying(CompactionEdit(removed: [run(2, 10, 10)], added: [run(2, 10, 10)], level: 2))
        #expect(moved.levels == [[], [run(1, 0, 10)], [run(3, 0, 10), run(2, 10, 10)]])
    }

    @Test func smallNeighboursAreJoined() throws {
        let small = (0..<8).map { run($0 + 1, 10 * $0, 10, bytes: 700) }
        let layout = MapLayout(levels: [[], small, [run(20, 80, 5, bytes: 700)]])
        let plan = try #require(CompactionPlan.next(for: layout, policy: policy))
        #expect(plan.movedRun == nil && plan.inputs[2] == [run(20, 80, 5)])
    }

    /// Random layouts: inputs are closed under overlap, and carrying plans out by their ranges always ends.
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func plansEnd(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var layout = MapLayout.empty
        var name: UInt64 = 0
        var steps = 0
        for _ in 0..<200 {
            name += 1
            let first = UInt64.random(in: 0..<5000, using: &random)
            layout = layout.adding(
                level0: run(
                    name, first, .random(in: 1...500, using: &random), bytes: .random(in: 100...2000, using: &random)))
            while let plan = CompactionPlan.next(for: layout, policy: policy) {
                steps += 1
                try #require(steps < 20_000)
                let inputs = plan.inputs.flatMap(\.self)
                let first = try #require(inputs.map(\.range.first).min())
                let end = try #require(inputs.map(\.range.end).max())
                let untouched = (layout.levels.count > plan.outputLevel ? layout.levels[plan.outputLevel] : []).filter {
                    !inputs.contains($0)
                }
                #expect(untouched.allSatisfy { $0.range.end <= first || end <= $0.range.first })
                name += 1
                let bytes = inputs.reduce(0) { $0 + $1.byteCount } * 9 / 10
                let merged = plan.movedRun ?? run(name, first.value, end - first, bytes: bytes)
                layout = try layout.applying(CompactionEdit(removed: inputs, added: [merged], level: plan.outputLevel))
            }
            for level in layout.levels.indices.dropFirst().dropLast() {
                #expect(layout.levels[level].reduce(0) { $0 + $1.byteCount } <= policy.bytesMax(level: level))
            }
            #expect(layout.levels.first?.count ?? 0 < policy.level0RunsMax)
        }
    }
}
