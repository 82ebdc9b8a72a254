import Codec
import ObjectStorage
@testable import SegmentLog
import StoreCore
import Testing

@Suite struct DamageIsNoticed {
    private func small() throws -> SealedSegment {
        var builder = try SegmentBuilder(
            id: Fixtures.id(1), keys: Fixtures.keys, options: SegmentOptions(recordBlocks: 1))
        try builder.append(range(0, 2), Fixtures.text(blocks: 2, seed: 1).span.bytes)
        try builder.appendZeroes(range(7, 3))
        return try builder.sealed()
    }

    @Test func everyTruncation() throws {
        let bytes = try small().bytes
        for count in 0..<bytes.count {
            let error = #expect(throws: StorageError.self) {
                try SegmentReader.open(Array(bytes.prefix(count)), id: Fixtures.id(1), keys: Fixtures.keys)
            }
            #expect(error?.code == .corrupt)
            #expect(error?.message.contains(Fixtures.id(1).key.text) == true)
        }
    }

    @Test func aFlippedBitAtEveryByte() throws {
        let bytes = try small().bytes
        for position in bytes.indices {
            var damaged = bytes
            damaged[position] ^= 1 << UInt8(position % 8)
            let error = #expect(throws: StorageError.self, "byte \(position)") {
                try SegmentReader.open(damaged, id: Fixtures.id(1), keys: Fixtures.keys)
            }
            // A changed version or key id cannot be told from a newer format or an unknown key.
            let codes: [ErrorCode] = position < ObjectHeader.byteCount ? [.corrupt, .unsupported, .denied] : [.corrupt]
            #expect(error.map { codes.contains($0.code) } == true, "byte \(position): \(error?.message ?? "")")
        }
    }

    @Test func aSegmentUnderAnotherName() throws {
        let bytes = try small().bytes
        for id in [Fixtures.id(2), Fixtures.id(1, epoch: 2), .packed(generation: 1, hash: .zero)] {
            #expect(throws: StorageError.self) { try SegmentReader.open(bytes, id: id, keys: Fixtures.keys) }
        }
    }

    @Test func aRecordOfAnotherPlaceOrSegment() throws {
        let (a, b) = (try Fixtures.segment(1), try Fixtures.segment(2))
        let record = a.index.records[0]
        func frame(_ bytes: [UInt8]) -> ArraySlice<UInt8> {
            bytes[Int(record.position)..<Int(record.position) + Int(record.byteCount)]
        }
        let whole = try SegmentReader.openRecord(frame(a.bytes), record, of: a.reference, keys: Fixtures.keys)
        #expect(whole.count == blockBytes)
        #expect(throws: StorageError.self) {
            try SegmentReader.openRecord(frame(a.bytes), record, of: b.reference, keys: Fixtures.keys)
        }
        var moved = record
        moved.position += 1
        #expect(throws: StorageError.self) {
            try SegmentReader.openRecord(frame(a.bytes), moved, of: a.reference, keys: Fixtures.keys)
        }
        var longer = record
        longer.blockCount = 2
        #expect(throws: StorageError.self) {
            try SegmentReader.openRecord(frame(a.bytes), longer, of: a.reference, keys: Fixtures.keys)
        }
        #expect(throws: StorageError.self) {
            try SegmentReader.openRecord(frame(a.bytes).dropLast(), record, of: a.reference, keys: Fixtures.keys)
        }
    }

    /// A sealed index is believed by its tag, yet a wrong one must not break the reader.
    @Test func everyTruncationAndFlipOfAnIndexEndsInAnErrorOrAnIndex() throws {
        let index = try small().index
        let plaintext = try index.encoded(isPacked: false, bytesMin: 0)
        for count in 0..<plaintext.count {
            #expect(throws: StorageError.self) {
                try SegmentIndex(decoding: Array(plaintext.prefix(count)), isPacked: false, object: "x")
            }
        }
        for position in plaintext.indices {
            for bit in 0..<8 {
                var damaged = plaintext
                damaged[position] ^= 1 << UInt8(bit)
                do {
                    let read = try SegmentIndex(decoding: damaged, isPacked: false, object: "x")
                    _ = read.problem(isPacked: false, indexPosition: 1000)
                } catch { #expect(error.code == .corrupt) }
            }
        }
    }
}
