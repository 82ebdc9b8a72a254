import Cache
import Codec
import Foundation
import ObjectStorage
import SegmentLog
import StoreCore
import Synchronization

/// Segments in a store that counts, and a fetcher over it.
final class Fixture: Sendable {
    static let keys = KeyRing.generate()
    let memoryStore = MemoryStore()
    let store: MeteringStore
    let faults: FaultStore
    let volume = VolumeID.random()
    let relocations = Mutex<[SegmentReference: Relocation]>([:])
    let relocationLookups = Mutex(0)

    init() {
        faults = FaultStore(memoryStore)
        store = MeteringStore(faults)
    }

    /// A segment of `blocks` blocks, in records of `recordBlocks` each, incompressible unless told.
    func segment(
        _ number: UInt64, holding content: UInt64? = nil, blocks: UInt64 = 64, recordBlocks: Int = 8,
        compressible: Bool = false
    ) async throws -> SealedSegment {
        var builder = try SegmentBuilder(
            id: .log(volume: volume, epoch: Epoch(1), sequence: SegmentSequence(number)), keys: Self.keys,
            options: SegmentOptions(recordBlocks: recordBlocks))
        let bytes = (0..<blocks).flatMap { Self.block(content ?? number, $0, compressible: compressible) }
        try builder.append(BlockRange(first: BlockIndex(0), count: blocks), bytes.span.bytes)
        let sealed = try builder.seal(
            previousHash: .zero, firstWrite: WriteSequence(1), lastWrite: WriteSequence(1),
            firstTime: Timestamp(nanoseconds: 0), lastTime: Timestamp(nanoseconds: 0), volumeBytes: 1 << 30)
        _ = try await memoryStore.create(sealed.reference.id.key, sealed.bytes)
        return sealed
    }
    static func block(_ segment: UInt64, _ block: UInt64, compressible: Bool = false) -> [UInt8] {
        if compressible {
            return [UInt8](repeating: UInt8(truncatingIfNeeded: segment &* 31 &+ block), count: blockBytes)
        }
        var random = SplitMix64(seed: segment << 32 | block)
        return (0..<blockBytes / 8).flatMap { _ in withUnsafeBytes(of: random.next()) { Array($0) } }
    }

    func fetcher(memory: RecordCache = RecordCache(bytes: 64 << 20), disk: DiskCache? = nil) -> RecordFetcher {
        RecordFetcher(
            store: store, keys: Self.keys, memory: memory, disk: disk,
            relocation: { [self] segment in
                relocationLookups.withLock { $0 += 1 }
                return relocations.withLock { $0[segment] }
            })
    }

    /// Reads blocks of a segment through the fetcher.
    func read(_ fetcher: RecordFetcher, _ segment: SealedSegment, _ blocks: Range<UInt64>) async throws -> [UInt8] {
        let buffer = IOBuffer(zeroed: blocks.count * blockBytes)
        try await fetcher.read(wanted(segment, blocks), into: buffer)
        return buffer.array
    }
    func wanted(_ segment: SealedSegment, _ blocks: Range<UInt64>) -> [RecordFetcher.Wanted] {
        let range = BlockRange(BlockIndex(blocks.lowerBound), upTo: BlockIndex(blocks.upperBound))
        return segment.extents.compactMap { $0.clipped(to: range) }.compactMap { extent in
            guard case .data(let location) = extent.mapping else { return nil }
            return (location, Int(extent.range.count), Int(extent.range.first - range.first) * blockBytes)
        }
    }
    func location(_ segment: SealedSegment, _ block: UInt64) -> BlockLocation {
        wanted(segment, block..<block + 1)[0].location
    }

    static func temporaryDirectory() -> String { NSTemporaryDirectory() + "zerofs-cache-\(UUID().uuidString)" }
}

extension SealedSegment {
    func expected(_ number: UInt64, _ blocks: Range<UInt64>) -> [UInt8] { blocks.flatMap { Fixture.block(number, $0) } }
}
