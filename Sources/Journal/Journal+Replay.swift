public import Codec
public import StoreCore

/// What replay found in a generation.
public struct JournalReplaySummary: Hashable, Sendable {
    public var entries: UInt64 = 0
    /// Of the first and last entry returned; nil where there was none.
    public var first: WriteSequence?
    public var last: WriteSequence?
    /// The last sequence before the oldest file that is still there: what precedes was released.
    public var releasedUpTo = WriteSequence(0)
    /// The closing entry was met: the owner left in order.
    public var isClosed = false
    /// Bytes after the last good entry that are not zero, up to the last such: 0 where every entry was whole.
    public var tornBytes = 0
    /// What is torn is more than one unfinished entry: synced or acknowledged entries may be lost.
    public var isDamaged = false
    /// The machine was not restarted since this generation began: the page cache survived.
    public var isSameBoot = false

    /// The opening kept no journal of what it answered.
    public var isUnjournaled = false

    /// Every acknowledged entry was returned, whether synced or not.
    public var isComplete: Bool { isClosed || (isSameBoot && !isDamaged && !isUnjournaled) }
}

extension Journal {
    /// Returns a generation's entries in order, up to the first break of the chain, which after a crash is the normal
    /// end. One file (`JournalLimits.fileBytes`) is in memory at a time. What is returned survives the host, for each
    /// file is synced before it is read: after a SIGKILL its entries may be in the page cache only, and a flush after
    /// the replay answers for them as well.
    /// Throws `denied` where the ring lacks a key, and what `body` throws.
    @discardableResult
    public static func replay(
        _ generation: JournalGeneration, keys: KeyRing, disk: any LocalDisk,
        _ body: (JournalEntry) async throws -> Void
    ) async throws -> JournalReplaySummary {
        var summary = JournalReplaySummary()
        summary.isSameBoot = try await disk.bootID() == generation.bootID
        summary.isUnjournaled = generation.kind == .unjournaled
        summary.isClosed = generation.kind == .claim
        var chain: [UInt8]?
        for (index, number) in generation.files.enumerated() {
            let file = try await disk.open("\(generation.path)/\(number.hex)")
            try await file.sync()
            let bytes = try await file.read(at: 0, count: file.byteCount)
            var reader = try JournalFileReader(bytes, generation: generation, number: number, keys: keys)
            guard let link = try reader.begin(after: chain) else {
                try await noteBreak(&summary, reader, generation.files[(index + 1)...], generation, disk)
                return summary
            }
            if chain == nil { summary.releasedUpTo = link.sequence }
            while let entry = try reader.next() {
                summary.entries += 1
                if summary.first == nil { summary.first = entry.sequence }
                summary.last = entry.sequence
                try await body(entry)
            }
            summary.isClosed = reader.isClosed
            chain = reader.chain
            // An entry that did not fit went to the next file; so did nothing that broke off here.
            guard reader.endsInZeroes, !reader.isClosed else {
                try await noteBreak(&summary, reader, generation.files[(index + 1)...], generation, disk)
                return summary
            }
        }
        return summary
    }

    private static func noteBreak(
        _ summary: inout JournalReplaySummary, _ reader: JournalFileReader, _ rest: ArraySlice<UInt64>,
        _ generation: JournalGeneration, _ disk: any LocalDisk
    ) async throws {
        summary.tornBytes = reader.tornBytes
        summary.isDamaged = reader.tornBytes > reader.unfinishedBytes
        for number in rest {
            let file = try await disk.open("\(generation.path)/\(number.hex)")
            let start = JournalFormat.firstEntryPosition
            let bytes = try await file.read(at: start, count: max(file.byteCount - start, 0))
            guard let end = bytes.lastIndex(where: { $0 != 0 }) else { continue }
            summary.tornBytes += end + 1
            summary.isDamaged = true
        }
    }
}
