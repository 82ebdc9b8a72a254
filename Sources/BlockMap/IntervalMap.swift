public import StoreCore

/// Sorted, non-overlapping intervals of blocks, each with a value.
///
/// Held in chunks of sorted entries, each shared by the copies of a map until one of them changes it: a copy costs
/// nothing, the first change after it the list of chunks and one chunk. `n` intervals: a look-up is O(log n), a change
/// O(log n + chunk). Intervals are never joined, even where their values follow each other.
///
/// A value type; whoever shares one guards it.
public struct IntervalMap<Value: IntervalValue>: Sendable {
    @usableFromInline
    struct Entry: Sendable {
        @usableFromInline var first: UInt64
        @usableFromInline var end: UInt64
        @usableFromInline var value: Value

        @inlinable
        init(first: UInt64, end: UInt64, value: Value) {
            self.first = first
            self.end = end
            self.value = value
        }
        @inlinable var range: BlockRange { BlockRange(first: BlockIndex(first), count: end - first) }
        /// The part in `from ..< to`, which overlaps the entry.
        @inlinable
        func clipped(_ from: UInt64, _ to: UInt64) -> (BlockRange, Value) {
            let first = Swift.max(first, from)
            let end = Swift.min(end, to)
            let range = BlockRange(first: BlockIndex(first), count: end - first)
            return (range, first == self.first ? value : value.advanced(by: first - self.first))
        }
    }

    /// Large enough that the list of chunks stays short, small enough that moving half of one costs a fraction of a µs.
    @inlinable static var chunkEntriesMax: Int { 128 }

    /// None is empty.
    @usableFromInline var chunks: [[Entry]] = []
    /// `firsts[i] == chunks[i][0].first`, side by side for the search.
    @usableFromInline var firsts: [UInt64] = []
    @usableFromInline var entryCount = 0

    public init() {}
    /// Intervals.
    @inlinable public var count: Int { entryCount }
    @inlinable public var isEmpty: Bool { firsts.isEmpty }

    /// The interval that holds `block`, whole, with the value of its first block.
    @inlinable
    public func value(at block: BlockIndex) -> (BlockRange, Value)? {
        guard !isEmpty else { return nil }
        let chunk = chunkIndex(for: block.value)
        let index = Self.entryIndex(in: chunks[chunk], endingAfter: block.value)
        guard index < chunks[chunk].count, chunks[chunk][index].first <= block.value else { return nil }
        return (chunks[chunk][index].range, chunks[chunk][index].value)
    }

    /// The intervals that overlap `range`, cut to it, in ascending order.
    @inlinable
    public func forEach(in range: BlockRange, _ body: (BlockRange, Value) throws -> Void) rethrows {
        guard !isEmpty, !range.isEmpty else { return }
        let from = range.first.value
        let to = range.end.value
        var chunk = chunkIndex(for: from)
        var index = Self.entryIndex(in: chunks[chunk], endingAfter: from)
        while chunk < chunks.count, firsts[chunk] < to {
            let entries = chunks[chunk]
            while index < entries.count {
                guard entries[index].first < to else { return }
                let (part, value) = entries[index].clipped(from, to)
                try body(part, value)
                index += 1
            }
            (chunk, index) = (chunk + 1, 0)
        }
    }

    /// Every interval, in ascending order.
    @inlinable
    public func forEach(_ body: (BlockRange, Value) throws -> Void) rethrows {
        for entries in chunks {
            for entry in entries { try body(entry.range, entry.value) }
        }
    }

    /// The last chunk that begins at or before `block`, else the first one. The map is not empty.
    @inlinable
    func chunkIndex(for block: UInt64) -> Int {
        var low = 0
        var high = firsts.count
        while low < high {
            let middle = (low + high) / 2
            if firsts[middle] <= block { low = middle + 1 } else { high = middle }
        }
        return Swift.max(low - 1, 0)
    }

    /// The first entry that reaches beyond `block`; `entries.count` where there is none.
    @inlinable
    static func entryIndex(in entries: [Entry], endingAfter block: UInt64) -> Int {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].end <= block { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
