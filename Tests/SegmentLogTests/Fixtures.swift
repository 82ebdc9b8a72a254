@testable import Codec
import ObjectStorage
@testable import SegmentLog
import StoreCore

enum Fixtures {
    static let volume = VolumeID(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff)
    static let time = Timestamp(nanoseconds: 1_700_000_000_000_000_000)
    /// One key: the bytes 0, 1, 2 … 31.
    static let keys = ring(.chaCha20Poly1305)
    static func ring(_ algorithm: CipherAlgorithm) -> KeyRing {
        let secret = SecretBytes(copying: (0..<32).map { UInt8($0) })
        return KeyRing(keys: [DataKeyID(1): .init(algorithm: algorithm, secret: secret)], current: DataKeyID(1))
    }

    static func id(_ sequence: UInt64, epoch: UInt64 = 1) -> SegmentID {
        .log(volume: volume, epoch: Epoch(epoch), sequence: SegmentSequence(sequence))
    }

    /// Blocks that do not compress, the same in every run.
    static func noise(blocks: Int, seed: UInt64) -> [UInt8] {
        var random = SplitMix64(seed: seed)
        var bytes: [UInt8] = []
        while bytes.count < blocks * blockBytes {
            withUnsafeBytes(of: random.next().littleEndian) { bytes.append(contentsOf: $0) }
        }
        return bytes
    }
    /// Blocks that compress, each of another content.
    static func text(blocks: Int, seed: UInt64) -> [UInt8] {
        (0..<blocks * blockBytes).map { UInt8(truncatingIfNeeded: UInt64($0 / 64) &+ seed &+ UInt64($0 / blockBytes)) }
    }

    /// A log segment that holds one block.
    static func segment(
        _ sequence: UInt64, epoch: UInt64 = 1, after hash: Digest = .zero, write: UInt64? = nil, block: UInt64 = 0,
        keys: KeyRing = keys
    ) throws -> SealedSegment {
        var builder = try SegmentBuilder(id: id(sequence, epoch: epoch), keys: keys)
        try builder.append(
            BlockRange(first: BlockIndex(block), count: 1), text(blocks: 1, seed: sequence).span.bytes)
        return try builder.sealed(after: hash, write: write ?? sequence)
    }

    /// Segments that follow each other, from sequence 1 of the epoch.
    static func chain(
        _ count: Int, epoch: UInt64 = 1, after hash: Digest = .zero, write: UInt64 = 1
    ) throws -> [SealedSegment] {
        var hash = hash
        return try (0..<UInt64(count)).map { number in
            let segment = try segment(number + 1, epoch: epoch, after: hash, write: write + number, block: number)
            hash = segment.reference.contentHash
            return segment
        }
    }
}

extension SegmentBuilder {
    consuming func sealed(
        after hash: Digest = .zero, write: UInt64 = 1, volumeBytes: UInt64 = 1 << 30
    ) throws -> SealedSegment {
        try seal(
            previousHash: hash, firstWrite: WriteSequence(write), lastWrite: WriteSequence(write),
            firstTime: Fixtures.time, lastTime: Fixtures.time, volumeBytes: volumeBytes)
    }
}

extension ObjectStore {
    func put(_ segments: [SealedSegment]) async throws {
        for segment in segments {
            guard try await create(segment.reference.id.key, segment.bytes) == .created else {
                throw StorageError(.alreadyExists, "\(segment.reference)")
            }
        }
    }
}

func range(_ first: UInt64, _ count: UInt64) -> BlockRange { BlockRange(first: BlockIndex(first), count: count) }

extension Sequence where Element == UInt8 {
    var hexText: String { map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
}

func bytes(hexText text: String) -> [UInt8] {
    let digits = text.compactMap { $0.hexDigitValue.map { UInt8($0) } }
    return stride(from: 0, to: digits.count - 1, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}
