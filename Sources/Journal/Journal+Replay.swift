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

    /// A sync had failed: the last write that was ever acknowledged.
    public var failedAfter: WriteSequence?

    /// Every acknowledged entry was returned, whether synced or not.
    public var isComplete: Bool { isComplete(with: WriteSequence(0)) }
    /// - Parameter held: everything up to this write is known without the journal.
    public func isComplete(with held: WriteSequence) -> Bool {
        if isClosed { return true }
        // The run of the machine proves nothing then: pages that were not written may have gone at any time since.
        if let failedAfter { return max(held, last ?? releasedUpTo) >= failedAfter }
        return isSameBoot && !isDamaged && !isUnjournaled
    }
}

extension Journal {
    /// Returns a generation's entries in order, up to the first break of the chain, which after a crash is the normal
    /// end. One file (`JournalLimits.fileBytes`) is in memory at a time.
    ///
    /// What was returned survives the host when this returns: after a SIGKILL entries may be in the page cache only,
    /// and a flush after the replay answers for them as well. So each file is synced before it is read; and where a
    /// sync ever failed what was read is written again, because only then a sync that succeeds means it.
    ///
    /// For who owns the volume. Throws `denied` where the ring lacks a key, `unavailable` where the disk keeps nothing,
    /// and what `body` throws.
    @discardableResult
    public static func replay(
        _ generation: JournalGeneration, keys: KeyRing, disk: any LocalDisk,
        _ body: (JournalEntry) async throws -> Void
    ) async throws -> JournalReplaySummary {
        try await walk(generation, keys, disk, makesDurable: true, body)
    }

    /// As `replay`, for who only looks: changes nothing, and promises nothing of what was returned.
    @discardableResult
    public static func read(
        _ generation: JournalGeneration, keys: KeyRing, disk: any LocalDisk,
        _ body: (JournalEntry) async throws -> Void
    ) async throws -> JournalReplaySummary {
        try await walk(generation, keys, disk, makesDurable: false, body)
    }

    private static func walk(
        _ generation: JournalGeneration, _ keys: KeyRing, _ disk: any LocalDisk, makesDurable: Bool,
        _ body: (JournalEntry) async throws -> Void
    ) async throws -> JournalReplaySummary {
        var summary = JournalReplaySummary()
        summary.isSameBoot = try await disk.bootID() == generation.bootID
        summary.isUnjournaled = generation.kind == .unjournaled
        summary.isClosed = generation.kind == .claim
        summary.failedAfter = generation.failedAfter
        var chain: [UInt8]?
        for (index, number) in generation.files.enumerated() {
            let file = try await disk.open("\(generation.path)/\(number.hex)")
            if makesDurable { try await sync(file, of: generation, &summary, disk) }
            let bytes = try await file.read(at: 0, count: file.byteCount)
            var reader = try JournalFileReader(bytes, generation: generation, number: number, keys: keys)
            let isWhole = try await readEntries(of: &reader, after: chain, &summary, body)
            if makesDurable, summary.failedAfter != nil {
                try await file.write(Array(reader.genuineBytes), at: 0)
                try await file.sync()
            }
            guard isWhole else {
                try await noteBreak(&summary, reader, generation.files[(index + 1)...], generation, disk)
                return summary
            }
            chain = reader.chain
        }
        return summary
    }

    /// The kernel tells of a page that it could not write once, to the first who syncs: that is noted for later ones.
    private static func sync(
        _ file: any LocalFile, of generation: JournalGeneration, _ summary: inout JournalReplaySummary,
        _ disk: any LocalDisk
    ) async throws {
        do { try await file.sync() } catch {
            guard summary.failedAfter == nil else { return }
            summary.failedAfter = WriteSequence(.max)
            try await noteFailedSync(in: generation.path, after: WriteSequence(.max), disk: disk)
        }
    }

    /// False where the generation ends in this file.
    private static func readEntries(
        of reader: inout JournalFileReader, after chain: [UInt8]?, _ summary: inout JournalReplaySummary,
        _ body: (JournalEntry) async throws -> Void
    ) async throws -> Bool {
        guard let link = try reader.begin(after: chain) else { return false }
        if chain == nil { summary.releasedUpTo = link.sequence }
        while let entry = try reader.next() {
            summary.entries += 1
            if summary.first == nil { summary.first = entry.sequence }
            summary.last = entry.sequence
            try await body(entry)
        }
        summary.isClosed = reader.isClosed
        // An entry that did not fit went to the next file; so did nothing that broke off here.
        return reader.endsInZeroes && !reader.isClosed
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
