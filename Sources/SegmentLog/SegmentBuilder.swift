public import Codec
public import StoreCore

/// Makes one segment of a volume's log from blocks that are handed to it in ascending order.
///
/// It compresses, encrypts and hashes as it goes, on the caller's thread, and holds what it has made: at most
/// `Limits.segmentObjectBytesMax`. Neighbouring blocks become one record however they were handed over, so that the
/// same contents give the same records. An instance belongs to one task.
public struct SegmentBuilder: ~Copyable {
    private let id: SegmentID
    private let options: SegmentOptions
    private var assembly: SegmentAssembly
    private var entries: [SegmentEntry] = []
    /// Blocks that wait for their neighbours: less than a record.
    private var pending: [UInt8] = []
    private var pendingFirst = BlockIndex(0)
    /// Where the next range may begin.
    private var end = BlockIndex(0)

    /// - Parameter expectedBytes: reserved at once; a guess too low costs copies.
    public init(
        id: SegmentID, keys: KeyRing, options: SegmentOptions = SegmentOptions(), expectedBytes: Int = 0
    ) throws(StorageError) {
        let cipher = try keys.sealing(.segment, identity: id.identity)
        try self.init(id: id, cipher: cipher, options: options, expectedBytes: expectedBytes)
    }
    /// For golden tests, whose cipher has a known salt.
    init(
        id: SegmentID, cipher: ObjectCipher, options: SegmentOptions, expectedBytes: Int = 0
    ) throws(StorageError) {
        guard case .log = id else { throw StorageError(.invalid, "\(id) does not name a segment of a log") }
        guard (1...Limits.recordBlocksMax).contains(options.recordBlocks) else {
            throw StorageError(
                .invalid, "a record of \(options.recordBlocks) blocks: 1 to \(Limits.recordBlocksMax) are possible")
        }
        self.id = id
        self.options = options
        assembly = SegmentAssembly(cipher: cipher, expectedBytes: expectedBytes)
        pending.reserveCapacity(options.recordBlocks * blockBytes)
    }

    /// Bytes of the segment so far, without the blocks that wait for their neighbours and without index and trailer.
    public var byteCount: Int { assembly.byteCount }

    /// Appends `range.count` blocks. Throws `invalid` unless the range follows all before it and `bytes` are its bytes;
    /// `full` where the segment would exceed its limits: seal earlier.
    public mutating func append(_ range: BlockRange, _ bytes: RawSpan) throws(StorageError) {
        guard UInt64(bytes.byteCount) == range.byteCount else {
            throw StorageError(.invalid, "\(bytes.byteCount) bytes are not those of \(range)")
        }
        try advance(to: range)
        if pendingFirst + UInt64(pending.count / blockBytes) != range.first { try flushPending() }
        if pending.isEmpty { pendingFirst = range.first }
        var position = 0
        while position < bytes.byteCount {
            position += try take(bytes.extracting(position..<bytes.byteCount))
        }
    }

    /// Appends a range that reads as zeroes. Throws as `append` does.
    public mutating func appendZeroes(_ range: BlockRange) throws(StorageError) {
        try advance(to: range)
        guard !range.isEmpty else { return }
        try flushPending()
        if let last = entries.last, last.content == .zero, last.range.end == range.first {
            entries[entries.count - 1].range.count += range.count
        } else {
            try addEntry(SegmentEntry(range: range, content: .zero))
        }
    }

    /// Ends the segment. Throws `invalid` where a reader would refuse it.
    ///
    /// - Parameters:
    ///   - previousHash: content hash of the segment before in the volume's log, across epochs.
    ///   - volumeBytes: the volume's size when `lastWrite` was applied.
    public consuming func seal(
        previousHash: Digest, firstWrite: WriteSequence, lastWrite: WriteSequence, firstTime: Timestamp,
        lastTime: Timestamp, volumeBytes: UInt64
    ) throws(StorageError) -> SealedSegment {
        try flushPending()
        let index = SegmentIndex(
            previousHash: previousHash, firstWrite: firstWrite, lastWrite: lastWrite, firstTime: firstTime,
            lastTime: lastTime, volumeBytes: volumeBytes, entries: entries, records: assembly.records)
        let id = id
        return try assembly.seal(index, isPacked: false) { _ in id }
    }

    private mutating func advance(to range: BlockRange) throws(StorageError) {
        guard range.count <= SegmentEntry.blocksMax, range.first.value <= SegmentEntry.blocksMax - range.count else {
            throw StorageError(.invalid, "\(range.count) blocks from block \(range.first) are no range of a volume")
        }
        guard range.first >= end else {
            throw StorageError(.invalid, "\(range) do not follow block \(end), which a segment holds already")
        }
        end = range.end
    }

    /// Takes the first of `bytes`, up to the end of a record, and tells how many. Whole records are sealed where they
    /// lie.
    private mutating func take(_ bytes: RawSpan) throws(StorageError) -> Int {
        let recordBytes = options.recordBlocks * blockBytes
        let count = min(bytes.byteCount, recordBytes - pending.count)
        if count == recordBytes {
            try addRecord(bytes.extracting(0..<count), at: pendingFirst)
            pendingFirst = pendingFirst + UInt64(options.recordBlocks)
            return count
        }
        pending.append(copying: bytes.extracting(0..<count))
        if pending.count == recordBytes { try flushPending() }
        return count
    }

    private mutating func flushPending() throws(StorageError) {
        guard !pending.isEmpty else { return }
        let blocks = pending
        pending = []
        try addRecord(blocks.span.bytes, at: pendingFirst)
        pendingFirst = pendingFirst + UInt64(blocks.count / blockBytes)
        pending = consume blocks
        pending.removeAll(keepingCapacity: true)
    }

    private mutating func addRecord(_ blocks: RawSpan, at first: BlockIndex) throws(StorageError) {
        let count = blocks.byteCount / blockBytes
        let record: RecordLocation
        if let level = options.compressionLevel, let compressed = try Compression.compress(blocks, level: level) {
            record = try assembly.append(stored: compressed.span.bytes, blockCount: count)
        } else {
            record = try assembly.append(stored: blocks, blockCount: count)
        }
        try addEntry(
            SegmentEntry(
                range: BlockRange(first: first, count: UInt64(count)), content: .data(record, blockOffset: 0)))
    }

    private mutating func addEntry(_ entry: SegmentEntry) throws(StorageError) {
        guard entries.count < Limits.segmentEntriesMax else {
            throw StorageError(.full, "a segment maps at most \(Limits.segmentEntriesMax) ranges")
        }
        entries.append(entry)
    }
}
