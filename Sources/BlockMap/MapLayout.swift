public import StoreCore

/// One version of a volume's map: the runs that it consists of. A value; a snapshot keeps one, a branch copies one.
///
/// Level 0: newest first, ranges may overlap. Level 1 and deeper: ascending and disjoint by range. What a shallower
/// level says of a block is newer than what a deeper one says.
public struct MapLayout: Hashable, Sendable {
    public var levels: [[RunReference]]

    public static let empty = MapLayout(levels: [])
    public init(levels: [[RunReference]]) { self.levels = levels }

    public var allRuns: [RunReference] { levels.flatMap(\.self) }
    public var isEmpty: Bool { levels.allSatisfy(\.isEmpty) }
    /// Bytes of all runs in the store.
    public var byteCount: UInt64 { levels.joined().reduce(0) { $0 + $1.byteCount } }

    /// With a run that is newer than all there are.
    public func adding(level0 run: RunReference) -> MapLayout {
        var levels = levels.isEmpty ? [[]] : levels
        levels[0].insert(run, at: 0)
        return MapLayout(levels: levels)
    }
    /// With runs, oldest first, that are newer than all there are: what `RunBuilder.build` made of one memtable.
    public func adding(level0 runs: [RunReference]) -> MapLayout { runs.reduce(self) { $0.adding(level0: $1) } }

    /// Indices of the runs of `level`, 1 or deeper, that overlap `range`.
    func overlapping(_ range: BlockRange, level: Int) -> Range<Int> {
        let runs = levels[level]
        var low = 0
        var high = runs.count
        while low < high {
            let middle = (low + high) / 2
            if runs[middle].range.end <= range.first { low = middle + 1 } else { high = middle }
        }
        var end = low
        while end < runs.count, runs[end].range.first < range.end { end += 1 }
        return low..<end
    }

    public func encode(into writer: inout ByteWriter) {
        writer.varint(UInt64(levels.count))
        for level in levels {
            writer.varint(UInt64(level.count))
            for run in level { run.encode(into: &writer) }
        }
    }
    /// - Parameter object: the manifest or version that holds the layout, for the error's text.
    public init(decoding reader: inout ByteReader, object: String) throws(StorageError) {
        let count = try reader.count(bytesEach: 1)
        guard count <= Self.levelsMax else { throw reader.corrupt("a map of \(count) levels") }
        levels = []
        for level in 0..<count {
            var runs: [RunReference] = []
            for _ in 0..<(try reader.count(bytesEach: 100)) {
                let run = try RunReference(decoding: &reader, object: object)
                guard level == 0 || (runs.last.map { $0.range.end <= run.range.first } ?? true) else {
                    throw reader.corrupt("the runs of level \(level) overlap")
                }
                runs.append(run)
            }
            levels.append(runs)
        }
    }
    static let levelsMax = 16
}
