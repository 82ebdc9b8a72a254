import SegmentLog
import StoreCore

/// Streams the extents of sorted, disjoint runs in order, by GETs of many pages at once. Memory: one such GET, one
/// decoded page, and a reference per segment of the current run.
struct RunScanner {
    /// Bytes per GET: few requests, and a bounded share of memory for each of the runs that a compaction merges.
    static let readBytes: UInt64 = 2 << 20

    private let reader: MapReader
    private let range: BlockRange
    private var runs: ArraySlice<RunReference>
    private var run: RunReader?
    private var segments: [SegmentReference] = []
    private var leaves: ArraySlice<PageLocation> = []
    private var fetched = SealedPages(bytes: [], locations: [])
    private var extents: [Extent] = []
    private var next = 0

    /// - Parameter range: extents are cut to it.
    init(_ runs: [RunReference], range: BlockRange, reader: MapReader) {
        self.runs = runs.filter { $0.range.overlaps(range) }[...]
        self.range = range
        self.reader = reader
    }

    /// The next extent when it is decoded already.
    mutating func nextNow() -> Extent? {
        guard next < extents.count else { return nil }
        defer { next += 1 }
        return extents[next]
    }
    /// The next extent; nil at the end.
    mutating func nextExtent() async throws -> Extent? {
        while true {
            if let extent = nextNow() { return extent }
            guard try await refill() else { return nil }
        }
    }

    /// One more page, chunk or run; false at the end of all.
    private mutating func refill() async throws -> Bool {
        if let run, let sealed = fetched.next() {
            try decode(sealed.frame, sealed.location, of: run)
        } else if let run, !leaves.isEmpty {
            fetched = try await run.pages(Self.chunk(&leaves), .extents)
        } else if let following = runs.popFirst() {
            try await open(following)
        } else {
            return false
        }
        return true
    }

    private mutating func open(_ reference: RunReference) async throws {
        let run = try reader.reader(for: reference)
        self.run = run
        leaves = try await run.leaves(of: reference.extents, .extents, .extentIndex, for: range)[...]
        segments.removeAll(keepingCapacity: true)
        segments.reserveCapacity(min(Int(reference.segmentCount), 1 << 20))
        try await run.forEachSegmentPage { page in segments.append(contentsOf: page.usages.lazy.map(\.segment)) }
    }

    private mutating func decode(_ frame: ArraySlice<UInt8>, _ location: PageLocation, of run: RunReader)
        throws(StorageError)
    {
        guard case .extents(let page) = try run.decode(frame, location, .extents) else {
            throw run.corrupt(location, "a page is of another kind than its tree says")
        }
        next = 0
        extents.removeAll(keepingCapacity: true)
        for index in 0..<page.count {
            let whole = page.range(at: index)
            guard whole.overlaps(range) else { continue }
            var mapping = Mapping.zero
            if let rank = page.segmentRank(at: index) {
                guard rank < segments.count else { throw run.corrupt(location, "segment \(rank) is not in its table") }
                mapping = .data(page.location(at: index, in: segments[rank]))
            }
            guard let extent = Extent(range: whole, mapping: mapping).clipped(to: range) else { continue }
            extents.append(extent)
        }
    }

    /// Takes neighbouring pages off the front, as many as one GET should bring.
    static func chunk(_ leaves: inout ArraySlice<PageLocation>) -> ArraySlice<PageLocation> {
        guard let first = leaves.first else { return [] }
        var end = leaves.startIndex + 1
        while end < leaves.endIndex, leaves[end].position == leaves[end - 1].end,
            leaves[end].end - first.position <= readBytes
        {
            end += 1
        }
        defer { leaves = leaves[end...] }
        return leaves[..<end]
    }
}

extension RunReader {
    /// Where the leaves of a tree lie that keys of `range` may be in, in order.
    func leaves(
        of tree: PageTree, _ leaf: RunFormat.PageKind, _ index: RunFormat.PageKind, for range: BlockRange
    ) async throws -> [PageLocation] {
        guard !tree.isEmpty, !range.isEmpty else { return [] }
        var level = [tree.root]
        for _ in 0..<tree.height {
            var children: [PageLocation] = []
            for (number, location) in level.enumerated() {
                guard case .index(let page) = try await page(location, index) else {
                    throw corrupt(location, "a page is of another kind than its tree says")
                }
                let first = number == 0 ? page.child(for: range.first.value) : 0
                for child in first..<page.count where child == first || page.key(at: child) < range.end.value {
                    children.append(page.location(at: child))
                }
            }
            level = children
        }
        return level
    }

    /// The table of segments, page by page, in order, past the cache.
    func forEachSegmentPage(_ body: (SegmentPage) async throws -> Void) async throws {
        let ranks = BlockRange(first: BlockIndex(0), count: UInt64(reference.segmentCount))
        var leaves = try await leaves(of: reference.segments, .segments, .segmentIndex, for: ranks)[...]
        var count = 0
        while !leaves.isEmpty {
            var fetched = try await pages(RunScanner.chunk(&leaves), .segments)
            while let (frame, location) = fetched.next() {
                guard case .segments(let page) = try decode(frame, location, .segments), page.firstRank == count else {
                    throw corrupt(location, "the table of segments is out of order")
                }
                count += page.usages.count
                try await body(page)
            }
        }
        guard count == reference.segmentCount else {
            throw corrupt(reference.segments.root, "the table has \(count) segments of \(reference.segmentCount)")
        }
    }
}
