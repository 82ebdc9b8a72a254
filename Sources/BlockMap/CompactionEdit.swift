public import StoreCore

/// What a compaction changes in a layout: runs that go, and those that stand for them at one level.
///
/// It applies to every later version of the layout that it was made from, however many runs were added on top
/// meanwhile.
public struct CompactionEdit: Hashable, Sendable {
    public var removed: [RunReference]
    /// Ascending and disjoint.
    public var added: [RunReference]
    public var level: Int
    public init(removed: [RunReference], added: [RunReference], level: Int) {
        self.removed = removed
        self.added = added
        self.level = level
    }
}

extension MapLayout {
    /// Throws `invalid` when a removed run is not there, or an added one meets another at its level: the edit was made
    /// from a version that this one does not follow.
    public func applying(_ edit: CompactionEdit) throws(StorageError) -> MapLayout {
        precondition((1..<Self.levelsMax).contains(edit.level), "a compaction writes below level 0")
        var gone = Set(edit.removed)
        var levels = levels.map { $0.filter { gone.remove($0) == nil } }
        if let run = gone.first { throw StorageError(.invalid, "compaction of a layout that lacks run \(run)") }
        while levels.count <= edit.level { levels.append([]) }
        let merged = (levels[edit.level] + edit.added).sorted { $0.range.first < $1.range.first }
        for (run, next) in zip(merged, merged.dropFirst()) where run.range.end > next.range.first {
            throw StorageError(.invalid, "compaction would put run \(run) over run \(next) at level \(edit.level)")
        }
        levels[edit.level] = merged
        while let last = levels.last, last.isEmpty { levels.removeLast() }
        return MapLayout(levels: levels)
    }
}
