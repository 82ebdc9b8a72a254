import SegmentLog
import StoreCore

/// Merges sources of ascending extents: of what several say of a block, the newest counts.
///
/// A sweep: the extent that begins first, of the newest source that has one there, up to where a newer one begins.
struct MergedExtents {
    static let batchExtents = 4096

    /// Newest first.
    private var sources: [RunScanner]
    private var heads: [Extent?]
    private var isOver: [Bool]

    /// - Parameter sources: newest first; each a list of runs that are disjoint and ascend.
    init(_ sources: [[RunReference]], range: BlockRange, reader: MapReader) {
        self.sources = sources.map { RunScanner($0, range: range, reader: reader) }
        heads = Array(repeating: nil, count: sources.count)
        isOver = Array(repeating: false, count: sources.count)
    }

    /// The next extents; fewer than `batchExtents`, or none, only at the end.
    mutating func nextBatch() async throws -> [Extent] {
        try Task.checkCancellation()
        var batch: [Extent] = []
        batch.reserveCapacity(Self.batchExtents)
        while batch.count < Self.batchExtents {
            for index in heads.indices where heads[index] == nil && !isOver[index] { try await advance(index) }
            guard let (winner, end) = nearest(), let extent = heads[winner] else { break }
            let part = BlockRange(extent.range.first, upTo: end)
            batch.append(Extent(range: part, mapping: extent.mapping))
            try await skip(to: end)
        }
        return batch
    }

    private mutating func advance(_ index: Int) async throws {
        if let extent = sources[index].nextNow() {
            heads[index] = extent
        } else {
            heads[index] = try await sources[index].nextExtent()
            isOver[index] = heads[index] == nil
        }
    }

    /// The source whose head comes next, and where its head ends or a newer one's begins.
    private func nearest() -> (source: Int, end: BlockIndex)? {
        var winner: Int?
        var first = BlockIndex(.max)
        var end = BlockIndex(.max)
        for (index, head) in heads.enumerated() {
            guard let head, head.range.first < first else { continue }
            // Newer sources come earlier and begin later: the one before this one bounds it.
            end = min(head.range.end, first)
            first = head.range.first
            winner = index
        }
        return winner.map { ($0, end) }
    }

    /// Drops what lies before `block`.
    private mutating func skip(to block: BlockIndex) async throws {
        for index in heads.indices {
            while let head = heads[index], head.range.first < block {
                if head.range.end > block {
                    heads[index] = head.clipped(to: BlockRange(block, upTo: head.range.end))
                } else {
                    heads[index] = nil
                    try await advance(index)
                }
            }
        }
    }
}
