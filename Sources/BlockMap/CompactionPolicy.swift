/// When runs are merged, and how much of a map may lie at each level.
public struct CompactionPolicy: Hashable, Sendable {
    /// Runs at level 0 that start a compaction: each is one more to ask in every look-up.
    public var level0RunsMax = 4
    /// A few flushes' worth, so that merging level 0 with all of level 1 stays cheap.
    public var level1BytesMax: UInt64 = 4 << 20
    /// How much larger each deeper level may be.
    public var sizeRatio: UInt64 = 8
    /// A run below this size joins a neighbour that is as small when it moves down, so that runs do not stay many.
    public var smallRunBytes: UInt64 = 16 << 20
    public var shape = RunShape.standard
    public static let standard = CompactionPolicy()

    public init() {}

    /// Bytes that `level`, 1 or deeper, may hold.
    func bytesMax(level: Int) -> UInt64 {
        var bytes = level1BytesMax
        for _ in 1..<max(level, 1) {
            let (product, overflow) = bytes.multipliedReportingOverflow(by: sizeRatio)
            if overflow { return .max }
            bytes = product
        }
        return bytes
    }
}
