import ObjectStorage
import SegmentLog
import StoreCore

@testable import BlockMap
@testable import Codec

/// What sealed inputs are made with. Nothing is random, so that an input that failed fails again.
enum Fixtures {
    static let keys = KeyRing(
        keys: [
            DataKeyID(1): KeyRing.Key(
                algorithm: .chaCha20Poly1305, secret: SecretBytes(copying: (0..<32).map { UInt8($0) }))
        ], current: DataKeyID(1))
    static let salt = Salt(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff)
    static let volume = VolumeID(0xd3b0_7384_d113_edec_49ea_a623_8ad5_ff00)
    static let time = Timestamp(nanoseconds: 1_700_000_000_123_456_789)
    static let operation = OperationID(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100)

    static func cipher(_ kind: ObjectKind, _ identity: String) throws -> ObjectCipher {
        try keys.sealing(kind, identity: identity, salt: salt)
    }
    static func segment(_ number: UInt64) -> SegmentReference {
        SegmentReference(
            id: number % 3 == 2
                ? .packed(generation: number, hash: .sha256([UInt8(truncatingIfNeeded: number)]))
                : .log(volume: volume, epoch: Epoch(1 + number / 8), sequence: SegmentSequence(number)),
            header: ObjectHeader(
                kind: .segment, algorithm: .chaCha20Poly1305, keyID: DataKeyID(1), salt: Salt(UInt128(number))),
            contentHash: .sha256([UInt8(truncatingIfNeeded: number)]), byteCount: 8_000_000)
    }
    /// Extents of every form: whole records, parts, zeroes, gaps, several segments.
    static func extents(_ count: UInt64) -> [Extent] {
        var generator = SplitMix64(seed: count)
        var block: UInt64 = 5
        var position: UInt32 = 32
        return (0..<count).map { number in
            let blocks = UInt64.random(in: 1...8, using: &generator)
            let range = BlockRange(first: BlockIndex(block), count: blocks)
            block += blocks + UInt64.random(in: 0...3, using: &generator) * 100
            guard number % 4 != 3 else { return Extent(range: range, mapping: .zero) }
            let byteCount = UInt32.random(in: 40...9000, using: &generator)
            defer { position += byteCount }
            let record = RecordLocation(position: position, byteCount: byteCount, blockCount: 8)
            return Extent(
                range: range,
                mapping: .data(
                    BlockLocation(segment: segment(number / 5), record: record, blockOffset: UInt8(8 - blocks))))
        }
    }
    static func run(_ extents: UInt64, _ shape: RunShape = .standard) throws -> SealedRun {
        let cipher = try cipher(.run, RunFormat.identity(volume, Epoch(3)))
        var builder = RunBuilder(volume: volume, epoch: Epoch(3), cipher: cipher, shape: shape)
        for extent in self.extents(extents) { builder.append(extent) }
        return try builder.seal()
    }
    /// Several levels of index from few extents.
    static let smallShape: RunShape = {
        var shape = RunShape.standard
        (shape.pageExtentsMax, shape.segmentsPerPage, shape.indexEntriesMax) = (3, 2, 2)
        return shape
    }()

    static func sealed(_ plaintext: [UInt8], _ kind: ObjectKind, _ identity: String) throws -> [UInt8] {
        let cipher = try cipher(kind, identity)
        var object = cipher.header.bytes
        try cipher.seal(plaintext, at: UInt64(object.count), appendingTo: &object)
        return object
    }
}

/// What zstd makes of so many bytes at the most: a block of 128 KiB takes at least 4.
func decompressed(_ count: Int) -> Int { min(count << 15, 64 << 20) }
