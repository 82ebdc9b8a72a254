public import SegmentLog
public import StoreCore

/// The newest part of a volume's map: what was written since the last run. Values, so that freezing one is a copy.
public struct Memtable: Sendable {
    public private(set) var intervals = IntervalMap<Mapping>()

    public init() {}
    public var isEmpty: Bool { intervals.isEmpty }
    /// Extents held; a bound for a run's size and for memory (about 50 bytes each).
    public var count: Int { intervals.count }

    /// Newer than everything held: hides what it overlaps.
    @inlinable
    public mutating func insert(_ extent: Extent) { set(extent.range, extent.mapping) }
    public mutating func insert(_ extents: [Extent]) {
        for extent in extents { intervals.set(extent.range, extent.mapping) }
    }
    public mutating func set(_ range: BlockRange, _ mapping: Mapping) { intervals.set(range, mapping) }

    /// What is held of `range`: ascending, cut to it, with gaps where nothing is.
    public func lookup(_ range: BlockRange) -> [Extent] {
        var found: [Extent] = []
        lookup(range, into: &found)
        return found
    }
    public func lookup(_ range: BlockRange, into found: inout [Extent]) {
        intervals.forEach(in: range) { found.append(Extent(range: $0, mapping: $1)) }
    }
    /// Everything, ascending.
    public func forEach(_ body: (Extent) throws -> Void) rethrows {
        try intervals.forEach { try body(Extent(range: $0, mapping: $1)) }
    }
    public var extents: [Extent] {
        var all: [Extent] = []
        all.reserveCapacity(count)
        forEach { all.append($0) }
        return all
    }
}
