public import StoreCore

extension IntervalMap {
    /// Maps `range` to `value`, and its later blocks to the value advanced; what it overlaps is cut or replaced.
    @inlinable
    public mutating func set(_ range: BlockRange, _ value: Value) {
        guard !range.isEmpty else { return }
        let entry = Entry(first: range.first.value, end: range.end.value, value: value)
        guard !isEmpty else {
            chunks.append([entry])
            firsts.append(entry.first)
            entryCount = 1
            return
        }
        replace(entry.first, entry.end, with: entry)
    }

    /// Leaves `range` without values.
    @inlinable
    public mutating func remove(_ range: BlockRange) {
        guard !range.isEmpty, !isEmpty else { return }
        replace(range.first.value, range.end.value, with: nil)
    }

    /// Puts `entry` (`from ..< to`), or nothing, in the place of all that overlaps `from ..< to`.
    @inlinable
    mutating func replace(_ from: UInt64, _ to: UInt64, with entry: Entry?) {
        let start = chunkIndex(for: from)
        guard start + 1 < chunks.count, firsts[start + 1] < to else {
            return replace(inChunk: start, from, to, with: entry)
        }
        // Several chunks: the last is cut first, so that the indices before it hold.
        var last = start + 1
        while last + 1 < chunks.count, firsts[last + 1] < to {
            entryCount -= chunks[last].count
            last += 1
        }
        replace(inChunk: last, from, to, with: nil)
        chunks.removeSubrange(start + 1..<last)
        firsts.removeSubrange(start + 1..<last)
        replace(inChunk: start, from, to, with: nil)
        guard let entry else { return }
        set(entry.range, entry.value)
    }

    @inlinable
    mutating func replace(inChunk chunk: Int, _ from: UInt64, _ to: UInt64, with entry: Entry?) {
        let low = Self.entryIndex(in: chunks[chunk], endingAfter: from)
        var high = low
        while high < chunks[chunk].count, chunks[chunk][high].first < to { high += 1 }

        var pieces = Pieces()
        if low < high, chunks[chunk][low].first < from {
            var left = chunks[chunk][low]
            left.end = from
            pieces.append(left)
        }
        if let entry { pieces.append(entry) }
        if low < high, chunks[chunk][high - 1].end > to {
            var right = chunks[chunk][high - 1]
            right.value = right.value.advanced(by: to - right.first)
            right.first = to
            pieces.append(right)
        }
        entryCount += pieces.count - (high - low)
        chunks[chunk].replaceSubrange(low..<high, with: pieces)
        settle(chunk)
    }

    /// Restores what holds for chunks after one was changed: not empty, not too large, its first block known.
    @inlinable
    mutating func settle(_ chunk: Int) {
        let entries = chunks[chunk].count
        guard entries > 0 else {
            chunks.remove(at: chunk)
            firsts.remove(at: chunk)
            return
        }
        firsts[chunk] = chunks[chunk][0].first
        if entries > Self.chunkEntriesMax {
            split(chunk)
        } else if entries < Self.chunkEntriesMax / 4, chunk + 1 < chunks.count,
            entries + chunks[chunk + 1].count <= Self.chunkEntriesMax * 3 / 4
        {
            chunks[chunk].append(contentsOf: chunks[chunk + 1])
            chunks.remove(at: chunk + 1)
            firsts.remove(at: chunk + 1)
        }
    }

    /// In halves; but the last chunk keeps all it can, so that writing in order leaves full chunks.
    @inlinable
    mutating func split(_ chunk: Int) {
        let entries = chunks[chunk].count
        let keep = chunk + 1 == chunks.count ? Self.chunkEntriesMax - 2 : entries / 2
        let rest = Array(chunks[chunk][keep...])
        chunks[chunk].removeSubrange(keep...)
        chunks.insert(rest, at: chunk + 1)
        firsts.insert(rest[0].first, at: chunk + 1)
    }

    /// Up to three entries, without an array's allocation.
    @usableFromInline
    struct Pieces: RandomAccessCollection {
        @usableFromInline var slots: (Entry?, Entry?, Entry?) = (nil, nil, nil)
        @usableFromInline var count = 0

        @inlinable init() {}
        @inlinable var startIndex: Int { 0 }
        @inlinable var endIndex: Int { count }
        @inlinable
        subscript(index: Int) -> Entry {
            let entry = index == 0 ? slots.0 : index == 1 ? slots.1 : slots.2
            guard let entry else { preconditionFailure("no piece \(index)") }
            return entry
        }
        @inlinable
        mutating func append(_ entry: Entry) {
            switch count {
            case 0: slots.0 = entry
            case 1: slots.1 = entry
            default: slots.2 = entry
            }
            count += 1
        }
    }
}
