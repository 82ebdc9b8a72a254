public import SegmentLog
public import StoreCore

extension MapReader {
    /// All extents of a version, or those of `range`, cut to it: merged newest over oldest, ascending, zeroes told.
    /// Streams past the page cache, in bounded memory.
    public func forEachExtent(
        in layout: MapLayout, range: BlockRange? = nil, _ body: (Extent) async throws -> Void
    ) async throws {
        let all = BlockRange(first: BlockIndex(0), count: RunFormat.blocksMax)
        var sources = (layout.levels.first ?? []).map { [$0] }
        sources.append(contentsOf: layout.levels.dropFirst())
        var merged = MergedExtents(sources, range: range ?? all, reader: self)
        while true {
            let batch = try await merged.nextBatch()
            guard !batch.isEmpty else { return }
            for extent in batch { try await body(extent) }
        }
    }

    /// The table of the segments that a run refers to, ascending by name, page by page.
    public func forEachSegment(of run: RunReference, _ body: (SegmentUsage) async throws -> Void) async throws {
        try await reader(for: run).forEachSegmentPage { page in
            for usage in page.usages { try await body(usage) }
        }
    }
}
