import ObjectStorage
import StoreCore

@testable import Codec
@testable import SegmentLog

extension Harness {
    static let segments: [Harness] = [
        Harness(
            name: "segment-index", memory: { (4 << 20) + 256 * $0 + 2 * min(decompressed($0), 2 << 20) },
            seeds: {
                let log = try segment().index.encoded(isPacked: false, bytesMin: 0)
                let records = [
                    RecordLocation(position: 32, byteCount: 300, blockCount: 8),
                    RecordLocation(position: 332, byteCount: 4112, blockCount: 1),
                ]
                let packed = try SegmentIndex.packed(records).encoded(isPacked: true, bytesMin: 40)
                return [[0] + log, [1] + packed, [0] + (try longIndex.encoded(isPacked: false, bytesMin: 0))]
            },
            body: { input in
                var choices = Choices(input)
                let isPacked = choices.byte() & 1 == 1
                let index = try SegmentIndex(decoding: choices.all(), isPacked: isPacked, object: "index")
                let end = index.records.last.map { Int($0.position) + Int($0.byteCount) } ?? 32
                guard index.problem(isPacked: isPacked, indexPosition: end) == nil else { return }
                let bytes = try index.encoded(isPacked: isPacked, bytesMin: 0)
                require(
                    try SegmentIndex(decoding: bytes, isPacked: isPacked, object: "again") == index,
                    "an index is written as it was read")
                let extents = index.extents(of: Fixtures.segment(1))
                require(extents.count == index.entries.count, "each entry is an extent")
            }),
        // Genuine in every tag and hash, around an index that is the input's.
        Harness(
            name: "segment", memory: { (8 << 20) + 256 * $0 + 4 * decompressed($0) },
            seeds: {
                let sealed = try segment()
                let index = try sealed.index.encoded(isPacked: false, bytesMin: 200)
                var parts: [UInt8] = []
                let cipher = try Fixtures.keys.opening(sealed.reference.header, identity: segmentID.identity)
                for record in sealed.index.records {
                    let end = Int(record.position) + Int(record.byteCount)
                    let frame = sealed.bytes[Int(record.position)..<end]
                    parts += try cipher.open(frame, at: UInt64(record.position), object: "seed").asPart
                }
                return [[UInt8(sealed.index.records.count)] + index.asPart + parts]
            },
            body: { input in
                var choices = Choices(input)
                let recordCount = Int(choices.byte() & 31)
                let index = choices.part()
                let cipher = try Fixtures.cipher(.segment, segmentID.identity)
                var object = cipher.header.bytes
                for _ in 0..<recordCount {
                    try cipher.seal(choices.part(), at: UInt64(object.count), appendingTo: &object)
                }
                let indexPosition = object.count
                try cipher.seal(index, at: UInt64(indexPosition), appendingTo: &object)
                let trailer = SegmentTrailer(
                    indexPosition: indexPosition, indexBytes: object.count - indexPosition,
                    contentHash: .sha256(object))
                try cipher.seal(trailer.encoded(), at: UInt64(object.count), appendingTo: &object)
                _ = try SegmentReader.open(object, id: segmentID, keys: Fixtures.keys)
                let (reference, found) = try SegmentReader.verify(object, id: segmentID, keys: Fixtures.keys)
                require(Int(reference.byteCount) == object.count, "a reference knows its object's size")
                for record in found.records {
                    let end = Int(record.position) + Int(record.byteCount)
                    let blocks = try SegmentReader.openRecord(
                        object[Int(record.position)..<end], record, of: reference, keys: Fixtures.keys)
                    require(blocks.count == Int(record.blockCount) * blockBytes, "a record gives its blocks")
                }
            }),
        Harness(
            name: "segment-trailer",
            seeds: {
                [
                    SegmentTrailer(indexPosition: 1000, indexBytes: 300, contentHash: .zero).encoded(),
                    try segment().bytes,
                ]
            },
            body: { input in
                _ = try? SegmentReader.verify(input, id: segmentID, keys: Fixtures.keys)
                let trailer = try SegmentTrailer(decoding: input, object: "segment")
                require(trailer.encoded() == input, "a trailer is written as it was read")
                // Wherever it says that the index lies: nothing but an error may come of it.
                let cipher = try Fixtures.cipher(.segment, segmentID.identity)
                var object = cipher.header.bytes + [UInt8](repeating: 0, count: 500)
                try cipher.seal(input, at: UInt64(object.count), appendingTo: &object)
                do {
                    _ = try SegmentReader.open(object, id: segmentID, keys: Fixtures.keys)
                } catch let error as StorageError where error.code == .corrupt {}
            }),
        Harness(
            name: "fence", seeds: { [fence.payload] },
            body: { input in
                let object = try Envelope.seal(
                    input, with: Fixtures.cipher(.fence, fence.key.text), identity: fence.key.text)
                let found = try Fence(
                    opening: object, volume: fence.volume, epoch: fence.closing, position: fence.position,
                    keys: Fixtures.keys)
                require(found.key == fence.key && found.claimer > found.closing, "a fence speaks of its own place")
                _ = try found.sealed(keys: Fixtures.keys)
            }),
    ]

    private static let segmentID = SegmentID.log(
        volume: Fixtures.volume, epoch: Epoch(2), sequence: SegmentSequence(3))
    private static let fence = Fence(
        volume: Fixtures.volume, closing: Epoch(300), position: SegmentSequence(5), claimer: Epoch(301),
        time: Fixtures.time)

    private static func segment() throws -> SealedSegment {
        let cipher = try Fixtures.cipher(.segment, segmentID.identity)
        var builder = try SegmentBuilder(
            id: segmentID, cipher: cipher, options: SegmentOptions(recordBlocks: 2, compressionLevel: 1))
        let blocks = [UInt8](repeating: 0x5a, count: 3 * blockBytes)
        try builder.append(BlockRange(first: BlockIndex(16), count: 3), blocks.span.bytes)
        try builder.appendZeroes(BlockRange(first: BlockIndex(20), count: 300))
        try builder.append(
            BlockRange(first: BlockIndex(1000), count: 1), blocks.span.bytes.extracting(first: blockBytes))
        return try builder.seal(
            previousHash: Digest(high: 1, low: 2), firstWrite: WriteSequence(1000), lastWrite: WriteSequence(1007),
            firstTime: Fixtures.time, lastTime: Timestamp(nanoseconds: Fixtures.time.nanoseconds + 5),
            volumeBytes: 1 << 40)
    }

    /// Long enough to be compressed; with whole records, parts of records and zeroes.
    private static var longIndex: SegmentIndex {
        let records = (0..<600).map {
            RecordLocation(position: UInt32(32 + 100 * $0), byteCount: 100, blockCount: 8)
        }
        let entries = records.enumerated().map { number, record in
            let range = BlockRange(first: BlockIndex(UInt64(number) * 20), count: number % 3 == 0 ? 8 : 2)
            return SegmentEntry(
                range: range,
                content: number % 5 == 4 ? .zero : .data(record, blockOffset: number % 3 == 0 ? 0 : UInt8(number % 7)))
        }
        return SegmentIndex(
            previousHash: .zero, firstWrite: WriteSequence(1), lastWrite: WriteSequence(900), firstTime: Fixtures.time,
            lastTime: Fixtures.time, volumeBytes: 1 << 40, entries: entries, records: records)
    }
}
