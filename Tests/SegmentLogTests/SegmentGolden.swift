@testable import Codec
import ObjectStorage
@testable import SegmentLog
import StoreCore
import Testing

/// Bytes as they lie in stores: a change here is a change of the format, and needs a new version number.
@Suite struct StoredBytesNeverChange {
    private static let id = Fixtures.id(3, epoch: 2)
    private static let salt = Salt(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100)

    private func seal(
        _ level: Int32?, _ fill: (inout SegmentBuilder) throws -> Void
    ) throws -> SealedSegment {
        let cipher = try Fixtures.keys.sealing(.segment, identity: Self.id.identity, salt: Self.salt)
        var builder = try SegmentBuilder(
            id: Self.id, cipher: cipher, options: SegmentOptions(recordBlocks: 2, compressionLevel: level))
        try fill(&builder)
        return try builder.seal(
            previousHash: Digest(high: 1, low: 2), firstWrite: WriteSequence(1000), lastWrite: WriteSequence(1007),
            firstTime: Fixtures.time, lastTime: Timestamp(nanoseconds: Fixtures.time.nanoseconds + 5),
            volumeBytes: 1 << 40)
    }
    private func small(_ level: Int32?) throws -> SealedSegment {
        try seal(level) { builder in
            try builder.append(range(16, 2), [UInt8](repeating: 0x5a, count: 2 * blockBytes).span.bytes)
            try builder.appendZeroes(range(20, 300))
        }
    }

    /// The example of docs/format.md. zstd may pack the same blocks otherwise tomorrow: this object must still be read.
    @Test func aSegmentOfOldIsRead() throws {
        let object = bytes(hexText: Self.example)
        let (reference, index) = try SegmentReader.verify(object, id: Self.id, keys: Fixtures.keys)
        let record = RecordLocation(position: 32, byteCount: 35, blockCount: 2)
        #expect(
            index
                == SegmentIndex(
                    previousHash: Digest(high: 1, low: 2), firstWrite: WriteSequence(1000),
                    lastWrite: WriteSequence(1007),
                    firstTime: Fixtures.time, lastTime: Timestamp(nanoseconds: Fixtures.time.nanoseconds + 5),
                    volumeBytes: 1 << 40,
                    entries: [
                        SegmentEntry(range: range(16, 2), content: .data(record, blockOffset: 0)),
                        SegmentEntry(range: range(20, 300), content: .zero),
                    ], records: [record]))
        let blocks = try SegmentReader.openRecord(object[32..<67], record, of: reference, keys: Fixtures.keys)
        #expect(blocks == [UInt8](repeating: 0x5a, count: 2 * blockBytes))
    }

    @Test func aSegmentOfTodayIsWrittenAsOfOld() throws {
        let sealed = try seal(nil) { builder in
            try builder.append(range(16, 2), [UInt8](repeating: 0x5a, count: 2 * blockBytes).span.bytes)
            try builder.appendZeroes(range(20, 300))
            try builder.append(range(1_000_000, 1), Fixtures.noise(blocks: 1, seed: 7).span.bytes)
        }
        #expect(sealed.bytes.prefix(32).hexText == Self.header)
        #expect(try sealed.index.encoded(isPacked: false, bytesMin: 0).hexText == Self.index)
        #expect(sealed.bytes.count == 12501)
        #expect(sealed.objectHash.description == Self.objectHash)
    }

    @Test func aPackedIndex() throws {
        let records = [
            RecordLocation(position: 32, byteCount: 300, blockCount: 8),
            RecordLocation(position: 332, byteCount: 4112, blockCount: 1),
        ]
        let index = try SegmentIndex.packed(records).encoded(isPacked: true, bytesMin: 12)
        #expect(index.hexText == "02000000020208ac02019020")
        #expect(try SegmentIndex(decoding: index, isPacked: true, object: "x").records == records)
    }

    @Test func aFence() {
        let fence = Fence(
            volume: Fixtures.volume, closing: Epoch(300), position: SegmentSequence(5), claimer: Epoch(301),
            time: Fixtures.time)
        #expect(fence.payload.hexText == "00112233445566778899aabbccddeeffac0205ad0200002a36fe9c9717")
    }

    private static let header = "5a5246530100010101000000000000000f0e0d0c0b0a09080706050403020100"
    private static let index =
        "000001020290400190200000000000000000000000000000000100000000000000000000000000000002e80707"
        + "00002a36fe9c97170a808080808020034108ac028188f401"
    private static let objectHash = "e2c9bdbc21102ab84b1d592ffd6bb6690e53440d999010aa3827fb0a017c3957"
    private static let example = """
        5a5246530100010101000000000000000f0e0d0c0b0a09080706050403020100
        9216f40dacec75a091b1bf92116769d1c09da2caa52ac6661b4241ede9301cb0
        7daa63873d3d39240633522351b62d7776ae2b9bb7f2ab19fd3f5184c6362e8a
        fa303ba9fd419e4ce41648b6a7bf4fc97f6c291388eca81b7b0ec9922acec5a6
        7606b93af9f199263ab70d50cd0d6e61611081a4c778941aa546abc1acf17f9e
        41af28eed9f373d0f0e9b79345d29035a9af7346afeee0b0999932d944898bb9
        2bb49fbace8e2d92c84bdfc459a7b04f08864708cc336f3155eedf7947b91f0a
        a8b40742074d079bacbe173d67a1a63cbd2f29feb1956170d0c765eb5a2f90da
        fc3e51a902c94eea3ab039db05e2e8c28f19b25e6672c285042b4658e414c54d
        f403092b1f03907afce0e8db33b66ce85d184b7a25445409a19f494254f63b48
        """
}
