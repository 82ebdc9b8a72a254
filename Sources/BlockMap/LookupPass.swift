import SegmentLog
import StoreCore

/// One try at a look-up with the pages in memory: newest to oldest, each run asked only for the holes that newer ones
/// leave. A page that is not in memory hides all below it, since what it says is not known, and is noted as missing.
///
/// Descending depth first yields extents in ascending order, with nothing to sort and no list of holes.
struct LookupPass {
    let reader: MapReader
    let layout: MapLayout
    var found: [Extent]
    var missing: [MissingPage] = []
    /// Pages that the look-up holds besides the cache; nil when it is only a try.
    let pinned: PinnedPages?
    private var segments: (run: RunReader, page: SegmentPage)?

    init(reader: MapReader, layout: MapLayout, found: [Extent], pinned: PinnedPages?) {
        self.reader = reader
        self.layout = layout
        self.found = found
        self.pinned = pinned
    }

    mutating func run(_ range: BlockRange) throws(StorageError) {
        guard !range.isEmpty else { return }
        try descend(range, below: Depth(level: 0, run: -1))
    }

    /// A place in the order of age: a run of level 0, or a whole level below.
    private struct Depth {
        var level: Int
        var run: Int
    }

    private mutating func descend(_ range: BlockRange, below depth: Depth) throws(StorageError) {
        var level = depth.level
        if level == 0 {
            let runs = layout.levels.first ?? []
            var run = depth.run + 1
            while run < runs.count {
                if runs[run].range.overlaps(range) {
                    return try search(range, in: runs[run], at: Depth(level: 0, run: run))
                }
                run += 1
            }
        }
        level += 1
        while level < layout.levels.count {
            let runs = layout.overlapping(range, level: level)
            if !runs.isEmpty { return try search(range, in: runs, at: Depth(level: level, run: 0)) }
            level += 1
        }
    }

    /// A level's runs, with the gaps between them.
    private mutating func search(_ range: BlockRange, in runs: Range<Int>, at depth: Depth) throws(StorageError) {
        var next = range.first
        for index in runs {
            let end = index + 1 < runs.upperBound ? layout.levels[depth.level][index].range.end : range.end
            try search(BlockRange(next, upTo: min(end, range.end)), in: layout.levels[depth.level][index], at: depth)
            next = end
        }
    }

    private mutating func search(_ range: BlockRange, in run: RunReference, at depth: Depth) throws(StorageError) {
        let reader = try reader.reader(for: run)
        try search(range, in: reader, reader.reference.extents.root, height: reader.reference.extents.height, at: depth)
    }

    private mutating func search(
        _ range: BlockRange, in run: RunReader, _ location: PageLocation, height: UInt8, at depth: Depth
    ) throws(StorageError) {
        guard let page = page(location, of: run, height == 0 ? .extents : .extentIndex) else { return }
        switch page {
        case .extents(let page): try collect(range, from: page, of: run, at: depth)
        case .index(let page) where height > 0:
            var child = page.child(for: range.first.value)
            var next = range.first
            while next < range.end {
                let isLast = child + 1 == page.count
                let end = isLast ? range.end : min(range.end, BlockIndex(page.key(at: child + 1)))
                try search(
                    BlockRange(next, upTo: end), in: run, page.location(at: child), height: height - 1, at: depth)
                (next, child) = (end, child + 1)
            }
        default: throw run.corrupt(location, "a page is of another kind than its tree says")
        }
    }

    private mutating func collect(
        _ range: BlockRange, from page: ExtentPage, of run: RunReader, at depth: Depth
    ) throws(StorageError) {
        var next = range.first
        var index = page.firstIndex(endingAfter: next)
        while next < range.end, index < page.count {
            let whole = page.range(at: index)
            guard whole.first < range.end else { break }
            if next < whole.first { try descend(BlockRange(next, upTo: whole.first), below: depth) }
            let part = whole.intersection(range)
            if let rank = page.segmentRank(at: index) {
                if let segment = try segment(rank, of: run) {
                    let location = page.location(at: index, in: segment).advanced(by: part.first - whole.first)
                    found.append(Extent(range: part, mapping: .data(location)))
                }
            } else {
                found.append(Extent(range: part, mapping: .zero))
            }
            (next, index) = (part.end, index + 1)
        }
        if next < range.end { try descend(BlockRange(next, upTo: range.end), below: depth) }
    }

    /// Nil when its page is missing.
    private mutating func segment(_ rank: Int, of run: RunReader) throws(StorageError) -> SegmentReference? {
        if let segments, segments.run === run, let known = segments.page.segment(rank: rank) { return known }
        let tree = run.reference.segments
        var location = tree.root
        var height = tree.height
        guard rank < run.reference.segmentCount else {
            throw run.corrupt(location, "segment \(rank) is not in its table")
        }
        while let page = page(location, of: run, height == 0 ? .segments : .segmentIndex) {
            switch page {
            case .segments(let page):
                guard let segment = page.segment(rank: rank) else {
                    throw run.corrupt(location, "segment \(rank) is not in its table")
                }
                segments = (run, page)
                return segment
            case .index(let page) where height > 0:
                location = page.location(at: page.child(for: UInt64(rank)))
                height -= 1
            default: throw run.corrupt(location, "a page is of another kind than its tree says")
            }
        }
        return nil
    }

    private mutating func page(_ location: PageLocation, of run: RunReader, _ kind: RunFormat.PageKind) -> Page? {
        if let page = run.pageNow(location) { return page }
        let request = MissingPage(run: run, location: location, kind: kind)
        if let page = pinned?[request] { return page }
        if !missing.contains(request) { missing.append(request) }
        return nil
    }

    /// Adds the roots of all runs that may come to be asked, so that they are fetched together and not one after the
    /// other; small runs are fetched whole that way.
    mutating func askForRoots(_ range: BlockRange) throws(StorageError) {
        for run in layout.levels.first ?? [] where run.range.overlaps(range) { try askForRoot(of: run) }
        for level in layout.levels.indices.dropFirst() {
            for index in layout.overlapping(range, level: level) { try askForRoot(of: layout.levels[level][index]) }
        }
    }
    private mutating func askForRoot(of run: RunReference) throws(StorageError) {
        guard missing.count < MapReader.loadsMax else { return }
        let kind = run.extents.height == 0 ? RunFormat.PageKind.extents : .extentIndex
        _ = page(run.extents.root, of: try reader.reader(for: run), kind)
    }
}

/// A page that a look-up needs.
struct MissingPage: Hashable, Sendable {
    let run: RunReader
    let location: PageLocation
    let kind: RunFormat.PageKind

    func load() async throws -> Page { try await run.page(location, kind) }

    static func == (a: Self, b: Self) -> Bool { a.run === b.run && a.location == b.location }
    func hash(into hasher: inout Hasher) {
        hasher.combine(ObjectIdentifier(run))
        hasher.combine(location.position)
    }
}

/// Pages by what asked for them.
typealias PinnedPages = [MissingPage: Page]
