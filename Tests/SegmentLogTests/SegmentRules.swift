import Codec
import ObjectStorage
@testable import SegmentLog
import StoreCore
import Testing

@Suite struct BuilderRefusesWhatNoReaderWouldAccept {
    private let block = Fixtures.noise(blocks: 1, seed: 1)

    private func makeBuilder() throws -> SegmentBuilder { try SegmentBuilder(id: Fixtures.id(1), keys: Fixtures.keys) }
    private func expectInvalid(_ body: () throws -> Void, _ location: SourceLocation = #_sourceLocation) {
        let error = #expect(throws: StorageError.self, sourceLocation: location) { try body() }
        #expect(error?.code == .invalid, sourceLocation: location)
    }

    @Test func blocksOutOfOrderOrTwice() throws {
        for wrong in [range(9, 1), range(10, 1), range(0, 5)] {
            expectInvalid {
                var builder = try makeBuilder()
                try builder.append(range(10, 1), block.span.bytes)
                try builder.appendZeroes(wrong)
            }
        }
        expectInvalid {
            var builder = try makeBuilder()
            try builder.appendZeroes(range(5, 10))
            try builder.append(range(14, 1), block.span.bytes)
        }
    }
    @Test func bytesThatAreNotTheRanges() throws {
        expectInvalid {
            var builder = try makeBuilder()
            try builder.append(range(0, 2), block.span.bytes)
        }
        expectInvalid {
            var builder = try makeBuilder()
            let short = block.dropFirst()
            try builder.append(range(0, 1), short.span.bytes)
        }
    }
    @Test func blocksBeyondAnyVolume() throws {
        let end = Limits.volumeBytesMax / UInt64(blockBytes)
        for wrong in [range(end, 1), range(0, end + 1), range(.max, 1), range(1, .max)] {
            expectInvalid {
                var builder = try makeBuilder()
                try builder.appendZeroes(wrong)
            }
        }
        var builder = try makeBuilder()
        try builder.appendZeroes(range(0, end))
        #expect(try builder.sealed().index.entries.count == 1)
    }
    @Test func writesThatAreNone() throws {
        for (first, last) in [(0, 1), (2, 1), (0, 0)] as [(UInt64, UInt64)] {
            expectInvalid {
                _ = try makeBuilder().seal(
                    previousHash: .zero, firstWrite: WriteSequence(first), lastWrite: WriteSequence(last),
                    firstTime: Fixtures.time, lastTime: Fixtures.time, volumeBytes: 0)
            }
        }
    }
    @Test func sizesThatNoVolumeHas() throws {
        for bytes in [1, Limits.volumeBytesMax + UInt64(blockBytes)] {
            expectInvalid { _ = try makeBuilder().sealed(volumeBytes: bytes) }
        }
    }
    @Test func recordsOfImpossibleSize() throws {
        for blocks in [0, 33, -1] {
            expectInvalid {
                _ = try SegmentBuilder(
                    id: Fixtures.id(1), keys: Fixtures.keys, options: SegmentOptions(recordBlocks: blocks))
            }
        }
        expectInvalid { _ = try SegmentBuilder(id: .packed(generation: 1, hash: .zero), keys: Fixtures.keys) }
    }

    @Test func aFullSegmentSaysSoAndWhatWasTakenCanBeSealed() throws {
        let blocks = Fixtures.noise(blocks: 32, seed: 3)
        var builder = try SegmentBuilder(
            id: Fixtures.id(1), keys: Fixtures.keys, options: SegmentOptions(recordBlocks: 32, compressionLevel: nil))
        var next: UInt64 = 0
        var failure: StorageError?
        while failure == nil {
            do { try builder.append(range(next, 32), blocks.span.bytes) } catch { failure = error }
            next += 32
        }
        #expect(failure?.code == .full)
        #expect(builder.byteCount > Limits.segmentBytesTarget)
        let sealed = try builder.sealed()
        #expect(sealed.bytes.count <= Limits.segmentObjectBytesMax)
        try SegmentReader.verify(sealed.bytes, id: Fixtures.id(1), keys: Fixtures.keys)
    }

    @Test func theLargestIndexFits() throws {
        var builder = try makeBuilder()
        // Numbers of the greatest length: each gap and count takes many bytes.
        let stride = Limits.volumeBytesMax / UInt64(blockBytes) / UInt64(Limits.segmentEntriesMax)
        for entry in 0..<UInt64(Limits.segmentEntriesMax) {
            try builder.appendZeroes(range(entry * stride, stride / 2 + 1))
        }
        #expect(throws: StorageError.self) {
            try builder.appendZeroes(range(Limits.volumeBytesMax / UInt64(blockBytes) - 1, 1))
        }
        let sealed = try builder.sealed()
        let plaintext = try sealed.index.encoded(isPacked: false, bytesMin: 0)
        #expect(plaintext.count <= SegmentFormat.indexPlaintextBytesMax)
        let (_, index) = try SegmentReader.open(sealed.bytes, id: Fixtures.id(1), keys: Fixtures.keys)
        #expect(index == sealed.index)
    }

    @Test func aSegmentIsLargerThanAnyFence() throws {
        let greatest = Fence(
            volume: VolumeID(.max), closing: Epoch(.max - 1), position: SegmentSequence(.max), claimer: Epoch(.max),
            time: Timestamp(nanoseconds: .min))
        #expect(try greatest.sealed(keys: Fixtures.keys).count <= Fence.objectBytesMax)
        #expect(try makeBuilder().sealed().bytes.count >= SegmentFormat.objectBytesMin)
        let packer = try PackedSegmentBuilder(generation: 1, keys: Fixtures.keys)
        #expect(try packer.seal().bytes.count >= SegmentFormat.objectBytesMin)
    }
}

@Suite struct IndexRules {
    private let record = RecordLocation(position: 32, byteCount: 100, blockCount: 4)
    private func index(_ entries: [SegmentEntry], _ records: [RecordLocation]) -> SegmentIndex {
        SegmentIndex(
            previousHash: .zero, firstWrite: WriteSequence(1), lastWrite: WriteSequence(1), firstTime: Fixtures.time,
            lastTime: Fixtures.time, volumeBytes: 0, entries: entries, records: records)
    }
    private func problem(_ entries: [SegmentEntry], _ records: [RecordLocation], end: Int = 132) -> String? {
        index(entries, records).problem(isPacked: false, indexPosition: end)
    }

    @Test func partsOfRecordsReadBack() throws {
        let second = RecordLocation(position: 132, byteCount: 50, blockCount: 2)
        let written = index(
            [
                SegmentEntry(range: range(1, 2), content: .data(second, blockOffset: 0)),
                SegmentEntry(range: range(3, 1), content: .data(record, blockOffset: 3)),
                SegmentEntry(range: range(9, 2), content: .data(record, blockOffset: 1)),
                SegmentEntry(range: range(11, 2), content: .data(second, blockOffset: 0)),
            ], [record, second])
        #expect(written.problem(isPacked: false, indexPosition: 182) == nil)
        let plaintext = try written.encoded(isPacked: false, bytesMin: 200)
        #expect(try SegmentIndex(decoding: plaintext, isPacked: false, object: "x") == written)
    }
    @Test func brokenGeometryIsNamed() {
        let whole = SegmentEntry(range: range(0, 4), content: .data(record, blockOffset: 0))
        #expect(problem([whole], [record]) == nil)
        #expect(problem([whole], [record], end: 131) != nil)
        #expect(problem([whole], [record], end: 133) != nil)
        #expect(problem([SegmentEntry(range: range(0, 4), content: .data(record, blockOffset: 1))], [record]) != nil)
        #expect(problem([SegmentEntry(range: range(0, 0), content: .zero)], [record]) != nil)
        #expect(problem([whole, SegmentEntry(range: range(3, 2), content: .zero)], [record]) != nil)
        for wrong in [
            RecordLocation(position: 33, byteCount: 100, blockCount: 4),
            RecordLocation(position: 32, byteCount: 100, blockCount: 0),
            RecordLocation(position: 32, byteCount: 100, blockCount: 33),
            RecordLocation(position: 32, byteCount: 16, blockCount: 1),
            RecordLocation(position: 32, byteCount: 4096 + 17, blockCount: 1),
        ] {
            #expect(problem([], [wrong], end: 32 + Int(wrong.byteCount)) != nil)
        }
    }
}
