import Codec
import ObjectStorage
import SegmentLog
import StoreCore
import Testing

@testable import Cleaner

/// Freezes the bytes of what the cleaner puts into the store (docs/format.md).
@Suite struct GoldenCleanerObjects {
    private let victim = SegmentID.log(volume: VolumeID(0xabc), epoch: Epoch(3), sequence: SegmentSequence(300))
    private var record: RelocationRecord {
        let hash = Digest(high: 1, low: 2)
        let header = ObjectHeader(
            kind: .segment, algorithm: .chaCha20Poly1305, keyID: DataKeyID(1), salt: Salt(0x0102_0304_0506))
        let target = SegmentReference(
            id: .packed(generation: 7, hash: hash), header: header, contentHash: hash, byteCount: 70_000)
        func entry(_ old: UInt32, _ new: UInt32) -> RelocationRecord.Entry {
            .init(oldPosition: old, target: 0, record: RecordLocation(position: new, byteCount: 4112, blockCount: 1))
        }
        return RelocationRecord(
            victim: victim, victimHash: Digest(high: 3, low: 4), targets: [target],
            entries: [entry(32, 32), entry(8256, 4144)])
    }
    private func hex(_ bytes: [UInt8]) -> String {
        bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }

    @Test func relocationRecord() throws {
        #expect(
            RelocationRecord.key(of: victim).text
                == "relocated/8b84c88c95b7386009de67121acfec15c88be5b18d073d31a4f1bc2dcd3b0143")
        let bytes = record.encoded()
        #expect(
            hex(bytes)
                == "010100000000000000000000000000000abc03ac02000000000000000000000000000000030000000000000000000000"
                + "000000000401020700000000000000000000000000000001000000000000000000000000000000025a52465301000101"
                + "010000000000000000000000000000000000010203040506000000000000000000000000000000010000000000000000"
                + "00000000000000027011010002200020902001a04000b020902001")
        #expect(try RelocationRecord(decoding: bytes, object: "x") == record)
    }

    @Test func generation() throws {
        let generation = CleanerGeneration(number: 7, time: Timestamp(nanoseconds: 0x0102_0304), victims: [victim])
        #expect(CleanerGeneration.key(7).text == "cleaner/fffffffffffffff8")
        let bytes = generation.encoded()
        #expect(hex(bytes) == "01070403020100000000010100000000000000000000000000000abc03ac02")
        #expect(try CleanerGeneration(decoding: bytes, number: 7) == generation)
    }

    @Test func whatIsCutOrTurnedIsRefused() throws {
        let keys = KeyRing.generate()
        let key = RelocationRecord.key(of: victim)
        let object = try record.sealed(with: keys)
        #expect(try RelocationRecord(opening: object, at: key, keys: keys) == record)
        for count in [0, 40, object.count - 1] {
            #expect(throws: StorageError.self) {
                try RelocationRecord(opening: Array(object.prefix(count)), at: key, keys: keys)
            }
        }
        let other = RelocationRecord.key(of: .packed(generation: 1, hash: .zero))
        #expect(throws: StorageError.self) { try RelocationRecord(opening: object, at: other, keys: keys) }
        for cut in 0..<record.encoded().count {
            #expect(throws: StorageError.self) {
                try RelocationRecord(decoding: Array(record.encoded().prefix(cut)), object: "x")
            }
        }
    }
}
