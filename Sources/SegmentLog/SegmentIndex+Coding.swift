import Codec
import StoreCore

/// The index on storage. Plaintext of its frame:
///
///     padding           varint   count, then as many zero bytes: no segment is as small as a fence
///     encoding          byte     0 as it is, 1 zstd
///     length            4, LE    with zstd only: before compression
///
/// then, compressed or not,
///
///     kind              byte     1 log, 2 packed
///     records           varint   count, then for each: byte blocks, varint bytes of the frame
///                                (records lie one after the other, so their positions follow)
///     log only:
///       previous hash   32
///       first write     varint   then varint: last write - first write
///       first time      8, LE    then signed varint: last time - first time
///       volume bytes    varint
///       entries         varint   count, then for each: varint (blocks since the entry before it) << 2 | content
///                                  0 zero: varint blocks
///                                  1 the whole of the record after the one named last
///                                  2 part of a record: varint blocks, varint record's number, byte block offset
extension SegmentIndex {
    private enum Kind: UInt8 { case log = 1, packed = 2 }
    private enum Content: UInt64 { case zero = 0, wholeRecord = 1, partOfRecord = 2 }
    private enum Encoding: UInt8 { case raw = 0, zstd = 1 }

    /// - Parameter bytesMin: the plaintext has this length at least.
    func encoded(isPacked: Bool, bytesMin: Int) throws(StorageError) -> [UInt8] {
        var writer = ByteWriter(reserving: 128 + records.count * 4 + entries.count * 6)
        writer.byte(isPacked ? Kind.packed.rawValue : Kind.log.rawValue)
        writer.varint(UInt64(records.count))
        for record in records {
            writer.byte(record.blockCount)
            writer.varint(UInt64(record.byteCount))
        }
        if !isPacked { encodeLog(into: &writer) }
        return try Self.packed(writer.finish(), bytesMin: bytesMin)
    }

    private func encodeLog(into writer: inout ByteWriter) {
        writer.digest(previousHash)
        writer.varint(firstWrite.value)
        writer.varint(lastWrite.value - firstWrite.value)
        writer.timestamp(firstTime)
        writer.signedVarint(lastTime.nanoseconds &- firstTime.nanoseconds)
        writer.varint(volumeBytes)
        writer.varint(UInt64(entries.count))
        var end = BlockIndex(0)
        var next = 0
        for entry in entries {
            encode(entry, gap: entry.range.first - end, next: &next, into: &writer)
            end = entry.range.end
        }
    }

    private func encode(_ entry: SegmentEntry, gap: UInt64, next: inout Int, into writer: inout ByteWriter) {
        switch entry.content {
        case .zero:
            writer.varint(gap << 2 | Content.zero.rawValue)
            writer.varint(entry.range.count)
        case .data(let record, let blockOffset):
            if next < records.count, records[next] == record, entry.range.count == UInt64(record.blockCount) {
                writer.varint(gap << 2 | Content.wholeRecord.rawValue)
                next += 1
                return
            }
            let number = recordNumber(at: record.position)
            writer.varint(gap << 2 | Content.partOfRecord.rawValue)
            writer.varint(entry.range.count)
            writer.varint(UInt64(number))
            writer.byte(blockOffset)
            next = number + 1
        }
    }

    /// Records ascend by position.
    private func recordNumber(at position: UInt32) -> Int {
        var low = 0
        var high = records.count
        while low < high {
            let middle = (low + high) / 2
            if records[middle].position < position { low = middle + 1 } else { high = middle }
        }
        precondition(low < records.count && records[low].position == position, "an entry names a record of its segment")
        return low
    }

    private static func packed(_ body: [UInt8], bytesMin: Int) throws(StorageError) -> [UInt8] {
        let isLarge = body.count >= SegmentFormat.indexBytesCompressedFrom
        let compressed = isLarge ? try Compression.compress(body) : nil
        let padding = max(0, bytesMin - 2 - (compressed ?? body).count)
        var writer = ByteWriter(reserving: padding + (compressed ?? body).count + 8)
        writer.varint(UInt64(padding))
        writer.raw(repeatElement(0, count: padding))
        if let compressed {
            writer.byte(Encoding.zstd.rawValue)
            writer.littleEndian(UInt32(body.count))
            writer.raw(compressed)
        } else {
            writer.byte(Encoding.raw.rawValue)
            writer.raw(body)
        }
        return writer.finish()
    }
}

extension SegmentIndex {
    /// Reads an index's plaintext; positions in error texts count from its beginning. The caller checks the rules.
    init(decoding plaintext: [UInt8], isPacked: Bool, object: String) throws(StorageError) {
        let body = try Self.unpacked(plaintext, object: object)
        var reader = ByteReader(body, object: "\(object) (index)")
        guard try reader.byte() == (isPacked ? Kind.packed.rawValue : Kind.log.rawValue) else {
            throw reader.corrupt("the index is of another kind")
        }
        let records = try Self.records(from: &reader)
        self = isPacked ? .packed(records) : try Self.log(from: &reader, records: records)
        try reader.finish()
    }

    private static func unpacked(_ plaintext: [UInt8], object: String) throws(StorageError) -> ArraySlice<UInt8> {
        var reader = ByteReader(plaintext, object: "\(object) (index)")
        let padding = try reader.count(bytesEach: 1)
        guard try reader.raw(padding).allSatisfy({ $0 == 0 }) else { throw reader.corrupt("padding is not zero") }
        let encoding = try reader.byte()
        switch Encoding(rawValue: encoding) {
        case .raw: return try reader.raw(reader.remaining)
        case .zstd:
            let count = Int(try reader.littleEndian(UInt32.self))
            guard count <= SegmentFormat.indexPlaintextBytesMax else {
                throw reader.corrupt("an index of \(count) bytes")
            }
            return try Compression.decompress(
                try reader.raw(reader.remaining), originalBytes: count, object: object)[...]
        case nil: throw reader.corrupt("index encoding \(encoding) does not exist")
        }
    }

    private static func records(from reader: inout ByteReader) throws(StorageError) -> [RecordLocation] {
        let count = try reader.count(bytesEach: 2)
        var records: [RecordLocation] = []
        records.reserveCapacity(count)
        var position = UInt64(SegmentFormat.recordsPosition)
        for _ in 0..<count {
            let blockCount = try reader.byte()
            let byteCount = try reader.varint()
            guard byteCount <= UInt64(SegmentFormat.objectBytesMax) - position else {
                throw reader.corrupt("a record of \(byteCount) bytes")
            }
            records.append(
                RecordLocation(position: UInt32(position), byteCount: UInt32(byteCount), blockCount: blockCount))
            position += byteCount
        }
        return records
    }

    private static func log(
        from reader: inout ByteReader, records: [RecordLocation]
    ) throws(StorageError) -> SegmentIndex {
        let previousHash = try reader.digest()
        let firstWrite = try reader.varint()
        let writes = try reader.varint()
        let firstTime = try reader.littleEndian(Int64.self)
        let time = firstTime &+ (try reader.signedVarint())
        guard writes <= UInt64.max - firstWrite else { throw reader.corrupt("write sequences overflow") }
        return SegmentIndex(
            previousHash: previousHash, firstWrite: WriteSequence(firstWrite),
            lastWrite: WriteSequence(firstWrite + writes), firstTime: Timestamp(nanoseconds: firstTime),
            lastTime: Timestamp(nanoseconds: time), volumeBytes: try reader.varint(),
            entries: try entries(from: &reader, records: records), records: records)
    }

    private static func entries(
        from reader: inout ByteReader, records: [RecordLocation]
    ) throws(StorageError) -> [SegmentEntry] {
        let count = try reader.count(bytesEach: 1)
        guard count <= Limits.segmentEntriesMax else { throw reader.corrupt("\(count) entries exceed the limit") }
        var entries: [SegmentEntry] = []
        entries.reserveCapacity(count)
        var end = BlockIndex(0)
        var next = 0
        for _ in 0..<count {
            let head = try reader.varint()
            let (content, blocks) = try content(head & 3, from: &reader, records: records, next: &next)
            let gap = head >> 2
            guard gap <= SegmentEntry.blocksMax, blocks <= SegmentEntry.blocksMax else {
                throw reader.corrupt("blocks beyond any volume")
            }
            let range = BlockRange(first: end + gap, count: blocks)
            entries.append(SegmentEntry(range: range, content: content))
            end = range.end
            guard end.value <= SegmentEntry.blocksMax else { throw reader.corrupt("blocks beyond any volume") }
        }
        return entries
    }

    private static func content(
        _ tag: UInt64, from reader: inout ByteReader, records: [RecordLocation], next: inout Int
    ) throws(StorageError) -> (SegmentEntry.Content, blocks: UInt64) {
        switch Content(rawValue: tag) {
        case .zero: return (.zero, try reader.varint())
        case .wholeRecord:
            guard next < records.count else {
                throw reader.corrupt("an entry names record \(next) of \(records.count)")
            }
            defer { next += 1 }
            return (.data(records[next], blockOffset: 0), UInt64(records[next].blockCount))
        case .partOfRecord:
            let blocks = try reader.varint()
            let number = try reader.varint()
            guard number < UInt64(records.count) else {
                throw reader.corrupt("an entry names record \(number) of \(records.count)")
            }
            next = Int(number) + 1
            return (.data(records[Int(number)], blockOffset: try reader.byte()), blocks)
        case nil: throw reader.corrupt("an entry of unknown content")
        }
    }
}
