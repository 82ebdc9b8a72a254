import StoreCore
import Testing

@testable import Codec
@testable import Journal

/// Bytes as they lie on local disks: a change here is a change of the format, and needs a new version number.
@Suite struct JournalBytesNeverChange {
    private let volume = VolumeID(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff)
    private let token = OwnerToken(0xffee_ddcc_bbaa_9988_7766_5544_3322_1100)
    private let time = Timestamp(nanoseconds: 1_700_000_000_000_000_000)

    private var marker: GenerationMarker {
        GenerationMarker(
            volume: volume, token: token, generation: 3, epoch: Epoch(9), created: time,
            bootID: 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10)
    }

    @Test func theTokenFile() throws {
        #expect(marker.bytes.map { String(UInt16($0) + 256, radix: 16).dropFirst() }.joined() == Self.token)
        #expect(try GenerationMarker(decoding: marker.bytes, path: "token") == marker)
    }

    /// The example of docs/format.md: a zero, a resize, the closing entry.
    @Test func aFile() async throws {
        let disk = MemoryDisk()
        let keys = JournalSurvivesItsProcess.keys()
        let identity = JournalFormat.identity(volume, token, generation: 3, file: 1)
        let cipher = try keys.sealing(
            .journal, identity: identity, salt: Salt(0x0f0e_0d0c_0b0a_0908_0706_0504_0302_0100))
        let path = "/journal/\(volume)/\(UInt64(3).hex)"
        let file = try await JournalFile.prepare(1, cipher: cipher, in: path, bytes: 320, disk: disk)
        var position = try AppendPosition(file, time: time)
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        let zero = JournalAppend.zero(BlockRange(first: BlockIndex(5), count: 300))
        try position.append(zero.head(WriteSequence(1000), time), none)
        try position.append(JournalAppend.resize(1 << 40).head(WriteSequence(1001), time), none)
        try position.append(EntryHead(sequence: WriteSequence(1001), time: time, kind: .end), none)
        let bytes = disk.bytes("\(path)/\(UInt64(1).hex)")
        #expect(bytes.map { String(UInt16($0) + 256, radix: 16).dropFirst() }.joined() == Self.file)
        try await disk.put("\(path)/token", marker.bytes)
        let generations = try await Journal.generations(directory: "/journal", volume: volume, disk: disk)
        var found: [JournalEntry] = []
        let summary = try await Journal.replay(try #require(generations.first), keys: keys, disk: disk) {
            found.append($0)
        }
        #expect(summary.isClosed)
        #expect(
            found == [
                JournalEntry(
                    sequence: WriteSequence(1000), time: time,
                    operation: .zero(BlockRange(first: BlockIndex(5), count: 300))),
                JournalEntry(sequence: WriteSequence(1001), time: time, operation: .resize(1 << 40)),
            ])
    }

    private static let token = """
        5a5246534a524e4c010000000000000000112233445566778899aabbccddeeffffeeddccbbaa9988776655443322110003000000\
        00000000090000000000000000002a36fe9c97170102030405060708090a0b0c0d0e0f103b0042bd81b7406dbe67e16e1a18e753\
        1c54564b0af1471a989113446883a014
        """
    private static let file = """
        5a52465301000a0101000000000000000f0e0d0c0b0a09080706050403020100480000006e6ec662cd80db0f13b5a43d94cae8a2\
        8e714df9426f5d225c0d1fb14f6dc258e18c9aa13ccb3b09d4c108edb43c314f7063d7cc85a0b3ef8d2b885d39d9795621a911e3\
        c028b9dc38000000748e98937cc34827d6c684bf32e9add262445a5d48bd435bf7e794675ca95c977d8400b6f732f309c42ee7b4\
        3f7d76226146a18603419a7c380000006b4b630e292cd07e0f22e551722a1efed832d1352e855366281674899ce06aa11523348e\
        73e87d263b4aac0fb51294fd07ae7d04d0cc0cac38000000ad1a9e62c37799ed2e95a8bb22fdbeacadb0371bc7dc923db518b584\
        211eaaa93ab29991c22de9561a9ea282fa292aa1ed84e998a50d25f7000000000000000000000000000000000000000000000000\
        0000000000000000
        """
}
