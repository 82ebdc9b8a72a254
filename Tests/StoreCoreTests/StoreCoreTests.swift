import StoreCore
import Testing

@Suite struct ByteSizes {
    @Test(arguments: [
        ("4096", 4096), ("512M", 512 << 20), ("10G", 10 << 30), ("1.5G", 3 << 29), ("4TiB", 4 << 40), ("2kb", 2048),
    ])
    func parseReadsPowersOf1024(text: String, bytes: UInt64) { #expect(ByteSize.parse(text) == bytes) }

    @Test(arguments: ["", "G", "-1", "1X", "0x10", "1.5", "99999999999999999999", "20000000P", "1 G"])
    func parseRefusesWhatIsNoSize(text: String) { #expect(ByteSize.parse(text) == nil) }

    @Test(arguments: [(0, "0"), (1023, "1023"), (1024, "1K"), (10 << 30, "10G"), (1_395_864_371, "1.3G")])
    func formatIsShort(bytes: UInt64, text: String) { #expect(ByteSize.format(bytes) == text) }
}

@Suite struct ByteCoding {
    @Test func fieldsReadBackAsWritten() throws {
        var writer = ByteWriter()
        writer.littleEndian(UInt32(0x0102_0304))
        for value in [0, 127, 128, UInt64.max] { writer.varint(value) }
        for value in [0, -1, Int64.min, Int64.max] { writer.signedVarint(value) }
        writer.string("käse")
        writer.digest(Digest(high: 1, low: 2))
        let bytes = writer.finish()
        #expect(Array(bytes.prefix(4)) == [4, 3, 2, 1])
        var reader = ByteReader(bytes, object: "test")
        #expect(try reader.littleEndian(UInt32.self) == 0x0102_0304)
        for value in [0, 127, 128, UInt64.max] { #expect(try reader.varint() == value) }
        for value in [0, -1, Int64.min, Int64.max] { #expect(try reader.signedVarint() == value) }
        #expect(try reader.string() == "käse")
        #expect(try reader.digest() == Digest(high: 1, low: 2))
        try reader.finish()
    }

    @Test func everyTruncationThrowsCorrupt() throws {
        var writer = ByteWriter()
        writer.varint(300)
        writer.string("name")
        writer.littleEndian(UInt64(7))
        let bytes = writer.finish()
        for length in 0..<bytes.count {
            var reader = ByteReader(Array(bytes.prefix(length)), object: "test")
            #expect(throws: StorageError.self) {
                _ = try reader.varint()
                _ = try reader.string()
                _ = try reader.littleEndian(UInt64.self)
            }
        }
    }

    @Test func aHugeCountIsRefusedBeforeItAllocates() {
        var writer = ByteWriter()
        writer.varint(.max)
        var reader = ByteReader(writer.finish(), object: "test")
        #expect(throws: StorageError.self) { _ = try reader.count(bytesEach: 1) }
    }

    @Test func overlongVarintIsRefused() {
        var reader = ByteReader([UInt8](repeating: 0xff, count: 11), object: "test")
        #expect(throws: StorageError.self) { _ = try reader.varint() }
    }
}

@Suite struct Names {
    @Test(arguments: ["pg-prod", "a", "9x", "2026-01-01T00:00:00Z", "a.b_c+d"])
    func ordinaryNamesAreValid(name: String) { #expect(VolumeName.isValid(name)) }
    @Test(arguments: ["", "-a", ".", "a/b", "a@b", "ä", "a b", String(repeating: "x", count: 201)])
    func othersAreNot(name: String) { #expect(!VolumeName.isValid(name)) }
    @Test func aReferenceSplitsAtTheFirstAt() throws {
        #expect(try VolumeReference(parsing: "v@s") == VolumeReference(volume: "v", snapshot: "s"))
        #expect(throws: StorageError.self) { try VolumeReference(parsing: "v@s@t") }
        #expect(throws: StorageError.self) { try VolumeReference(parsing: "v@") }
    }
    @Test func identifiersPrintAsFixedHexThatSortsAsNumbers() {
        #expect(VolumeID(255).description == String(repeating: "0", count: 30) + "ff")
        #expect(VolumeID(hex: VolumeID(255).description) == VolumeID(255))
        #expect(UInt64(16).hex == "0000000000000010")
        let digest = Digest(high: 7, low: .max)
        #expect(Digest(bytes: digest.bytes) == digest && Digest(hex: digest.description) == digest)
    }
}

@Suite struct Ranges {
    @Test func touchingCoversRaggedEdges() {
        #expect(BlockRange.touching(byteOffset: 4095, byteCount: 2) == BlockRange(first: BlockIndex(0), count: 2))
        #expect(BlockRange.touching(byteOffset: 4096, byteCount: 4096) == BlockRange(first: BlockIndex(1), count: 1))
        #expect(BlockRange.touching(byteOffset: 4096, byteCount: 0).isEmpty)
    }
    @Test func intersectionIsTheCommonPart() {
        let a = BlockRange(first: BlockIndex(2), count: 4), b = BlockRange(first: BlockIndex(5), count: 9)
        #expect(a.intersection(b) == BlockRange(first: BlockIndex(5), count: 1))
        #expect(a.intersection(BlockRange(first: BlockIndex(6), count: 1)).isEmpty)
    }
}
