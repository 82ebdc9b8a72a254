import Codec
import ObjectStorage
import SegmentLog
import StoreCore
import Testing

@Suite struct SegmentsReadBackAsWritten {
    /// Blocks of a volume as a test remembers them; nil where zeroes were written.
    typealias Contents = [UInt64: [UInt8]?]

    @Test(arguments: 0..<24)
    func randomContents(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let options = SegmentOptions(
            recordBlocks: [1, 3, 8, 32][Int(seed % 4)], compressionLevel: seed % 3 == 0 ? nil : 1)
        let keys = Fixtures.ring(seed % 2 == 0 ? .chaCha20Poly1305 : .aes256GCM)
        var builder = try SegmentBuilder(id: Fixtures.id(1), keys: keys, options: options)
        let contents = try fill(&builder, using: &random)
        let sealed = try builder.sealed()
        let (reference, index) = try SegmentReader.verify(sealed.bytes, id: Fixtures.id(1), keys: keys)
        #expect(reference == sealed.reference)
        #expect(reference.header == sealed.reference.header)
        #expect(index == sealed.index)
        #expect(Digest.sha256(sealed.bytes) == sealed.objectHash)
        #expect(try read(sealed.extents, from: sealed.bytes, keys) == contents)
    }

    private func fill(_ builder: inout SegmentBuilder, using random: inout SplitMix64) throws -> Contents {
        var contents: Contents = [:]
        var next: UInt64 = 0
        for _ in 0..<Int.random(in: 1...40, using: &random) {
            // Half of the pieces follow the one before at once.
            next += Bool.random(using: &random) ? 0 : UInt64.random(in: 1...1 << 20, using: &random)
            let blocks = Int.random(in: 1...20, using: &random)
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                try builder.appendZeroes(range(next, UInt64(blocks)))
                for block in 0..<UInt64(blocks) { contents[next + block] = .some(nil) }
            case let kind:
                let seed = random.next()
                let bytes =
                    kind == 1 ? Fixtures.noise(blocks: blocks, seed: seed) : Fixtures.text(blocks: blocks, seed: seed)
                try builder.append(range(next, UInt64(blocks)), bytes.span.bytes)
                for block in 0..<blocks {
                    contents[next + UInt64(block)] = Array(bytes[block * blockBytes..<(block + 1) * blockBytes])
                }
            }
            next += UInt64(blocks)
        }
        return contents
    }

    private func read(_ extents: [Extent], from object: [UInt8], _ keys: KeyRing) throws -> Contents {
        let opener = RecordOpener(keys: keys)
        var contents: Contents = [:]
        for extent in extents {
            for block in 0..<extent.range.count {
                switch extent.mapping.advanced(by: block) {
                case .zero: contents[extent.range.first.value + block] = .some(nil)
                case .data(let location):
                    let start = Int(location.record.position)
                    let frame = object[start..<start + Int(location.record.byteCount)]
                    let bytes = try opener.open(frame, location.record, of: location.segment)
                    let offset = Int(location.blockOffset) * blockBytes
                    contents[extent.range.first.value + block] = Array(bytes[offset..<offset + blockBytes])
                }
            }
        }
        return contents
    }

    @Test func recordsDependOnContentsNotOnHowTheyWereHandedOver() throws {
        let bytes = Fixtures.noise(blocks: 21, seed: 1)
        var whole = try SegmentBuilder(id: Fixtures.id(1), keys: Fixtures.keys)
        try whole.append(range(100, 21), bytes.span.bytes)
        var single = try SegmentBuilder(id: Fixtures.id(1), keys: Fixtures.keys)
        for block in 0..<21 {
            let part = bytes[block * blockBytes..<(block + 1) * blockBytes]
            try single.append(range(100 + UInt64(block), 1), part.span.bytes)
        }
        let index = try whole.sealed().index
        #expect(try single.sealed().index == index)
        #expect(index.entries.map(\.range) == [range(100, 8), range(108, 8), range(116, 5)])
    }

    @Test func neighbouringZeroesAreOneEntry() throws {
        var builder = try SegmentBuilder(id: Fixtures.id(1), keys: Fixtures.keys)
        try builder.appendZeroes(range(5, 10))
        try builder.appendZeroes(range(15, 1 << 30))
        try builder.appendZeroes(range(2 << 30, 7))
        let sealed = try builder.sealed()
        #expect(
            sealed.extents == [
                Extent(range: range(5, 10 + 1 << 30), mapping: .zero), Extent(range: range(2 << 30, 7), mapping: .zero),
            ])
        let (_, index) = try SegmentReader.verify(sealed.bytes, id: Fixtures.id(1), keys: Fixtures.keys)
        #expect(index.entries == sealed.index.entries)
        #expect(index.records.isEmpty)
    }

    @Test func aResizeAloneIsASegment() throws {
        let builder = try SegmentBuilder(id: Fixtures.id(9), keys: Fixtures.keys)
        let sealed = try builder.sealed(write: 77, volumeBytes: 1 << 40)
        let (_, index) = try SegmentReader.open(sealed.bytes, id: Fixtures.id(9), keys: Fixtures.keys)
        #expect(index.volumeBytes == 1 << 40)
        #expect(index.lastWrite == WriteSequence(77))
        #expect(index.entries.isEmpty)
    }

    @Test func timesMayStepBack() throws {
        var builder = try SegmentBuilder(id: Fixtures.id(1), keys: Fixtures.keys)
        try builder.appendZeroes(range(0, 1))
        let late = Timestamp(nanoseconds: .max), early = Timestamp(nanoseconds: .min)
        let sealed = try builder.seal(
            previousHash: .zero, firstWrite: WriteSequence(1), lastWrite: WriteSequence(.max), firstTime: late,
            lastTime: early, volumeBytes: 0)
        let (_, index) = try SegmentReader.open(sealed.bytes, id: Fixtures.id(1), keys: Fixtures.keys)
        #expect(index.firstTime == late && index.lastTime == early)
        #expect(index.lastWrite == WriteSequence(.max))
    }

    @Test func referencesReadBack() throws {
        for reference in [try Fixtures.segment(3).reference, try packed().reference] {
            var writer = ByteWriter()
            reference.encode(into: &writer)
            var reader = ByteReader(writer.finish(), object: "table")
            let decoded = try SegmentReference(decoding: &reader, object: "table")
            try reader.finish()
            #expect(decoded == reference && decoded.header == reference.header)
            #expect(decoded.byteCount == reference.byteCount)
        }
    }
    private func packed() throws -> SealedSegment {
        var builder = try PackedSegmentBuilder(generation: 4, keys: Fixtures.keys)
        _ = try builder.append(storedPayload: [1, 2, 3], blockCount: 1)
        return try builder.seal()
    }
}

@Suite struct OpenerForgetsOldKeysOnly {
    @Test func moreSegmentsThanKeysRemembered() throws {
        let segments = try (1...40).map { try Fixtures.segment(UInt64($0)) }
        let opener = RecordOpener(keys: Fixtures.keys, keysMax: 6)
        for round in 0..<3 {
            for (number, segment) in segments.enumerated() {
                let record = segment.index.records[0]
                let frame = segment.bytes[Int(record.position)..<Int(record.position) + Int(record.byteCount)]
                let bytes = try opener.open(frame, record, of: segment.reference)
                #expect(bytes == Fixtures.text(blocks: 1, seed: UInt64(number + 1)), "round \(round)")
            }
        }
    }
}
