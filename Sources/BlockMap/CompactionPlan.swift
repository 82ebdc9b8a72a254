import StoreCore

/// Which runs to merge, and into which level: a pure function of the layout.
///
/// Leveled: all of level 0 goes to level 1; of a level that is too large, the run that costs least to merge with what
/// it overlaps goes one level down. Whatever of the output level overlaps the inputs is an input too, so that the
/// level stays disjoint. All of level 0 is taken, so that nothing newer is left above something that has moved below
/// it.
public struct CompactionPlan: Hashable, Sendable {
    /// By level, in the layout's order.
    public var inputs: [[RunReference]]
    public var outputLevel: Int
    /// Nothing older lies below the inputs, so that zeroes hide nothing and can go.
    public var dropsZeroes: Bool

    /// What is most pressing; nil when the layout is in order.
    public static func next(for layout: MapLayout, policy: CompactionPolicy = .standard) -> CompactionPlan? {
        guard let level0 = layout.levels.first else { return nil }
        if level0.count >= policy.level0RunsMax { return merging(level0, of: 0, in: layout) }
        guard let level = mostOversized(in: layout, policy: policy) else { return nil }
        return movingDown(from: level, in: layout, policy: policy)
    }

    /// Everything into one level: afterwards no extent is shadowed, and the tables of segments count live bytes
    /// exactly. Nil when there is nothing to merge.
    /// - Parameter evenIfMerged: rewrite a map that is in one level already, to resolve relocations.
    public static func full(
        for layout: MapLayout, policy: CompactionPolicy = .standard, evenIfMerged: Bool = false
    ) -> CompactionPlan? {
        let used = layout.levels.indices.filter { !layout.levels[$0].isEmpty }
        guard let deepest = used.last else { return nil }
        if used == [deepest], deepest > 0, !evenIfMerged { return nil }
        var output = max(deepest, 1)
        while output + 1 < MapLayout.levelsMax, policy.bytesMax(level: output) < layout.byteCount { output += 1 }
        return CompactionPlan(inputs: layout.levels, outputLevel: output, dropsZeroes: true)
    }

    /// What a merge reads: newest first, each a list of disjoint runs.
    var sources: [[RunReference]] {
        let level0 = (inputs.first ?? []).map { [$0] }
        return level0 + inputs.dropFirst().filter { !$0.isEmpty }
    }
    /// A run that overlaps nothing moves by name; no byte is read.
    var movedRun: RunReference? {
        let runs = inputs.flatMap(\.self)
        guard let run = runs.first, runs.count == 1, inputs.first?.isEmpty ?? true, inputs.count == outputLevel else {
            return nil
        }
        return run
    }

    private static func mostOversized(in layout: MapLayout, policy: CompactionPolicy) -> Int? {
        func excess(_ level: Int) -> Double {
            let bytes = layout.levels[level].reduce(0) { $0 + $1.byteCount }
            return Double(bytes) / Double(policy.bytesMax(level: level))
        }
        let deepest = min(layout.levels.count, MapLayout.levelsMax - 1)
        return (1..<max(deepest, 1)).filter { excess($0) > 1 }.max { excess($0) < excess($1) }
    }

    private static func movingDown(from level: Int, in layout: MapLayout, policy: CompactionPolicy) -> CompactionPlan? {
        func cost(_ run: RunReference) -> Double {
            guard level + 1 < layout.levels.count else { return 0 }
            let below = layout.levels[level + 1][layout.overlapping(run.range, level: level + 1)]
            return Double(below.reduce(0) { $0 + $1.byteCount }) / Double(max(run.byteCount, 1))
        }
        guard let run = layout.levels[level].min(by: { cost($0) < cost($1) }) else { return nil }
        var plan = merging([run], of: level, in: layout)
        if plan.movedRun != nil, run.byteCount < policy.smallRunBytes,
            let neighbour = smallNeighbour(of: run, level: level + 1, in: layout, policy: policy)
        {
            plan.inputs.append([neighbour])
            plan.dropsZeroes = isBottom(hull([run, neighbour]), level: level + 1, in: layout)
        }
        return plan
    }

    /// The run of `level` next to `run`, which overlaps none there, if it is small as well.
    private static func smallNeighbour(
        of run: RunReference, level: Int, in layout: MapLayout, policy: CompactionPolicy
    ) -> RunReference? {
        guard level < layout.levels.count else { return nil }
        let place = layout.overlapping(run.range, level: level).lowerBound
        let neighbours = [place - 1, place].filter(layout.levels[level].indices.contains).map {
            layout.levels[level][$0]
        }
        return neighbours.first { $0.byteCount < policy.smallRunBytes }
    }

    /// `runs` of `level` with what they overlap in the level below.
    private static func merging(_ runs: [RunReference], of level: Int, in layout: MapLayout) -> CompactionPlan {
        let output = level + 1
        let range = hull(runs)
        var inputs = [[RunReference]](repeating: [], count: level) + [runs]
        var all = runs
        if output < layout.levels.count {
            let below = Array(layout.levels[output][layout.overlapping(range, level: output)])
            all += below
            if !below.isEmpty { inputs.append(below) }
        }
        return CompactionPlan(
            inputs: inputs, outputLevel: output, dropsZeroes: isBottom(hull(all), level: output, in: layout))
    }

    private static func hull(_ runs: [RunReference]) -> BlockRange {
        let first = runs.map(\.range.first).min() ?? BlockIndex(0)
        let end = runs.map(\.range.end).max() ?? first
        return BlockRange(first, upTo: end)
    }
    private static func isBottom(_ range: BlockRange, level: Int, in layout: MapLayout) -> Bool {
        layout.levels.indices.dropFirst(level + 1).allSatisfy { layout.overlapping(range, level: $0).isEmpty }
    }
}
