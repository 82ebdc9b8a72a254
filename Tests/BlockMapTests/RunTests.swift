import ObjectStorage
import SegmentLog
import StoreCore
import Testing

@testable import BlockMap
@testable import Codec

@Suite struct RunTellsDamageFromData {
    private static let fixedKeys = KeyRing.fixed

    /// Extents of every kind: whole records, parts of one, neighbours that join, zeroes, distant ones.
    private static func extents() -> [Extent] {
        var source = ExtentSource(seed: 42, blocks: 1 << 20, segmentBytes: 1 << 16)
        var extents = source.data(BlockRange(first: BlockIndex(3), count: 70))
        extents.append(Extent(range: BlockRange(first: BlockIndex(80), count: 1 << 30), mapping: .zero))
        let record = source.data(BlockRange(first: BlockIndex(2 << 30), count: 32))[0]
        for part in [0..<4, 4..<9, 11..<12, 20..<32] as [Range<UInt64>] {
            let range = BlockRange(first: record.range.first + part.lowerBound, count: UInt64(part.count))
            if let extent = record.clipped(to: range) { extents.append(extent) }
        }
        for index in 0..<40 as Range<UInt64> {
            extents += source.data(BlockRange(first: BlockIndex(3 << 30) + index * 1000, count: 2))
        }
        return extents
    }

    private static func fixedRun(shape: RunShape) throws -> SealedRun {
        let volume = ExtentSource.volume
        let epoch = Epoch(3)
        let cipher = try fixedKeys.sealing(
            .run, identity: RunFormat.identity(volume, epoch), salt: Salt(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff))
        var builder = RunBuilder(volume: volume, epoch: epoch, cipher: cipher, shape: shape)
        for extent in extents() { builder.append(extent) }
        return try builder.seal()
    }

    @Test func neighboursOfOneRecordJoin() throws {
        let run = try Self.fixedRun(shape: .standard)
        // Blocks 0..<4 and 4..<9 of the shared record are one extent.
        #expect(run.reference.extentCount == UInt64(Self.extents().count) - 1)
        #expect(run.reference.range == BlockRange(BlockIndex(3), upTo: BlockIndex(3 << 30) + 39_002))
    }

    @Test func theReferenceCanBeHadFromTheBytes() throws {
        let run = try Self.fixedRun(shape: .tiny)
        #expect(run.reference.extents.height >= 2 && run.reference.segments.height >= 1)
        let found = try RunVerifier.reference(
            of: run.bytes, volume: run.reference.volume, epoch: run.reference.epoch, keys: Self.fixedKeys)
        #expect(
            found == run.reference && found.contents == run.reference.contents && found.header == run.reference.header)
    }

    /// Also with a reference that vouches for the damaged bytes, so that it is not the hash alone that tells.
    @Test func everyFlippedBitIsNoticed() throws {
        let run = try Self.fixedRun(shape: .tiny)
        for index in run.bytes.indices {
            var bytes = run.bytes
            bytes[index] ^= 1 << UInt8(index % 8)
            #expect(throws: StorageError.self) { try RunVerifier.verify(bytes, run.reference, keys: Self.fixedKeys) }
            var vouching = run.reference
            vouching.contentHash = .sha256(bytes)
            #expect(throws: StorageError.self, "byte \(index)") {
                try RunVerifier.verify(bytes, vouching, keys: Self.fixedKeys)
            }
        }
    }

    @Test func everyTruncationIsNoticed() throws {
        let run = try Self.fixedRun(shape: .tiny)
        for length in 0..<run.bytes.count {
            let bytes = Array(run.bytes.prefix(length))
            var vouching = run.reference
            vouching.contentHash = .sha256(bytes)
            #expect(throws: StorageError.self) { try RunVerifier.verify(bytes, vouching, keys: Self.fixedKeys) }
        }
        #expect(throws: StorageError.self) {
            try RunVerifier.verify(run.bytes + [0], run.reference, keys: Self.fixedKeys)
        }
    }

    @Test func aRunUnderAnotherNameDoesNotOpen() throws {
        let run = try Self.fixedRun(shape: .tiny)
        var other = run.reference
        other.volume = VolumeID(1)
        #expect(throws: StorageError.self) { try RunVerifier.verify(run.bytes, other, keys: Self.fixedKeys) }
        other = run.reference
        other.epoch = Epoch(4)
        #expect(throws: StorageError.self) { try RunVerifier.verify(run.bytes, other, keys: Self.fixedKeys) }
    }

    /// A look-up in a damaged run throws or tells the truth; whole (small runs) and page by page.
    @Test(arguments: [false, true]) func lookupsNeverBelieveDamage(isLarge: Bool) async throws {
        var source = ExtentSource(seed: 1, blocks: 1 << 20)
        var builder = try RunBuilder(volume: ExtentSource.volume, epoch: Epoch(3), keys: Self.fixedKeys)
        let blocks = isLarge ? 60_000 : 400 as UInt64
        var model = MapModel(blocks: Int(blocks))
        var memtable = Memtable()
        var order = SplitMix64(seed: 2)
        // In random order, so that places hardly compress.
        for first in stride(from: 0, to: blocks, by: 2).shuffled(using: &order) {
            memtable.insert(source.data(BlockRange(first: BlockIndex(first), count: 2)))
        }
        memtable.forEach { extent in
            builder.append(extent)
            model.apply(extent)
        }
        let run = try builder.seal()
        #expect((run.bytes.count > RunReader.wholeBytesMax) == isLarge)
        let layout = MapLayout.empty.adding(level0: run.reference)
        let whole = BlockRange(first: BlockIndex(0), count: blocks)
        var random = SplitMix64(seed: 3)
        for step in 0..<(isLarge ? 8 : 40) {
            var bytes = run.bytes
            if step % 4 == 3 {
                bytes.removeLast(Int.random(in: 1..<bytes.count, using: &random))
            } else {
                bytes[Int.random(in: bytes.indices, using: &random)] ^= 1 << UInt8(step % 8)
            }
            let store = MemoryStore([run.key: bytes])
            let reader = MapReader(store: store, keys: Self.fixedKeys, pages: PageCache(bytes: 1 << 20))
            for range in [whole, BlockRange(first: BlockIndex(blocks / 3), count: 8)] {
                do {
                    let found = try await reader.lookup(range, in: layout)
                    #expect(MapModel.cells(of: found, in: range) == model.cells(in: range))
                } catch let error as StorageError {
                    #expect(error.code == .corrupt || error.code == .invalid, "\(error)")
                }
            }
        }
    }

    @Test func hostilePagesAreRefused() throws {
        var random = SplitMix64(seed: 11)
        var encoder = ExtentPageEncoder()
        for (number, extent) in Self.extents().enumerated() {
            encoder.append(extent, segment: extent.mapping == .zero ? 0 : UInt64(number % 5 + 1))
        }
        let page = encoder.finish().encoded(ranks: Array(0..<5))
        let index = IndexPage.encode(
            (0..<9).map { IndexEntry(key: $0 * 7, location: PageLocation(position: 32 + $0 * 100, byteCount: 100)) }[
                ...],
            kind: .extentIndex)
        _ = try ExtentPage(decoding: page, object: "run")
        _ = try IndexPage(decoding: index, kind: .extentIndex, before: 1000, object: "run")
        for _ in 0..<20_000 {
            // Whatever a page holds, it is refused or can be read without a trap.
            if let page = try? ExtentPage(decoding: Self.mutated(page, &random), object: "run") {
                for index in 0..<page.count {
                    _ = page.range(at: index)
                    if page.segmentRank(at: index) != nil {
                        _ = page.location(at: index, in: ExtentSource.segment(SegmentSequence(1), volume: VolumeID(1)))
                    }
                }
            }
            if let page = try? IndexPage(
                decoding: Self.mutated(index, &random), kind: .extentIndex, before: 1000, object: "run")
            {
                for index in 0..<page.count {
                    #expect(page.location(at: index).end <= 1000 && page.key(at: index) >= page.key(at: 0))
                }
            }
        }
    }
    private static func mutated(_ page: [UInt8], _ random: inout SplitMix64) -> [UInt8] {
        var page = page
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            page[Int.random(in: page.indices, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
        }
        if Bool.random(using: &random) { page.removeLast(Int.random(in: 0..<page.count, using: &random)) }
        return page
    }
}

@Suite struct PackedColumnsKeepNumbers {
    @Test(arguments: [0, 1, 7, 8, 13, 31, 32, 33, 63, 64])
    func ofEveryWidth(width: Int) throws {
        var random = SplitMix64(seed: UInt64(width))
        let most: UInt64 = width == 64 ? .max : (1 << UInt64(width)) - 1
        for count in [0, 1, 2, 63, 64, 65, 300] {
            let base: UInt64 = width == 64 ? 0 : .random(in: 0...(UInt64.max - most), using: &random)
            var values = (0..<count).map { _ in base + .random(in: 0...most, using: &random) }
            if count > 1 { (values[0], values[1]) = (base, base + most) }
            let column = PackedColumn(values)
            #expect(column.values == values)
            var writer = ByteWriter()
            column.encode(into: &writer)
            var reader = ByteReader(writer.finish(), object: "run")
            #expect(try PackedColumn(decoding: &reader, count: count).values == values)
            try reader.finish()
            let sorted = PackedColumn(values.sorted())
            for probe in values.prefix(5) {
                #expect(sorted.lastIndex(notAbove: probe) == values.sorted().lastIndex { $0 <= probe })
            }
            if base > 0 { #expect(sorted.lastIndex(notAbove: base - 1) == nil) }
        }
    }
}
