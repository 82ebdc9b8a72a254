import Codec
import ObjectStorage
import SegmentLog
import StoreCore
import Testing

@Suite struct PackedSegmentsKeepRecords {
    @Test func recordsMoveWithoutBeingDecompressed() throws {
        let blocks = Fixtures.text(blocks: 8, seed: 1) + Fixtures.noise(blocks: 5, seed: 2)
        var builder = try SegmentBuilder(id: Fixtures.id(1), keys: Fixtures.keys)
        try builder.append(range(0, 13), blocks.span.bytes)
        let source = try builder.sealed()

        var packer = try PackedSegmentBuilder(generation: 7, keys: Fixtures.keys)
        let opener = RecordOpener(keys: Fixtures.keys)
        var moved: [RecordLocation] = []
        for record in source.index.records.reversed() {
            let frame = source.bytes[Int(record.position)..<Int(record.position) + Int(record.byteCount)]
            let payload = try opener.openStoredPayload(frame, record, of: source.reference)
            moved.append(try packer.append(storedPayload: payload, blockCount: record.blockCount))
        }
        let packed = try packer.seal()
        #expect(packed.reference.id == .packed(generation: 7, hash: packed.reference.contentHash))
        #expect(packed.extents.isEmpty)
        let (reference, index) = try SegmentReader.verify(packed.bytes, id: packed.reference.id, keys: Fixtures.keys)
        #expect(index.records == moved)
        let bytes = try moved.reversed().flatMap { record in
            let frame = packed.bytes[Int(record.position)..<Int(record.position) + Int(record.byteCount)]
            return try opener.open(frame, record, of: reference)
        }
        #expect(bytes == blocks)
    }

    @Test func theNameIsTheContents() throws {
        var packer = try PackedSegmentBuilder(generation: 7, keys: Fixtures.keys)
        _ = try packer.append(storedPayload: [1, 2, 3], blockCount: 1)
        let packed = try packer.seal()
        let hash = packed.reference.contentHash
        for id in [SegmentID.packed(generation: 7, hash: .zero), .packed(generation: 8, hash: hash)] {
            let error = #expect(throws: StorageError.self) {
                try SegmentReader.open(packed.bytes, id: id, keys: Fixtures.keys)
            }
            #expect(error?.code == .corrupt)
        }
        // The payload is no zstd: opening finds it whole, verifying does not.
        try _ = SegmentReader.open(packed.bytes, id: packed.reference.id, keys: Fixtures.keys)
        #expect(throws: StorageError.self) {
            try SegmentReader.verify(packed.bytes, id: packed.reference.id, keys: Fixtures.keys)
        }
    }
}
