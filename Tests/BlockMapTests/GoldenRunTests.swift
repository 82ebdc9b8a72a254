import ObjectStorage
import SegmentLog
import StoreCore
import Testing

@testable import BlockMap
@testable import Codec

extension KeyRing {
    /// One ChaCha20-Poly1305 key, the bytes 0 to 31.
    static let fixed = KeyRing(
        keys: [
            DataKeyID(1): KeyRing.Key(
                algorithm: .chaCha20Poly1305, secret: SecretBytes(copying: (0..<32).map { UInt8($0) }))
        ], current: DataKeyID(1))
}

/// The bytes of docs/format.md's example. No page of it is worth compressing, so that no version of zstd changes it.
@Suite struct RunFormatStaysAsItIs {
    private static let volume = VolumeID(0xd3b0_7384_d113_edec_49ea_a623_8ad5_ff00)
    private static let epoch = Epoch(3)
    private static let salt = Salt(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff)

    private static func segment(_ sequence: UInt64) -> SegmentReference {
        let salt = (UInt128(0x9e37_79b9_7f4a_7c15) << 64 | 0xf39c_c060_5ced_c834) &* UInt128(sequence)
        return SegmentReference(
            id: .log(volume: volume, epoch: epoch, sequence: SegmentSequence(sequence)),
            header: ObjectHeader(kind: .segment, algorithm: .chaCha20Poly1305, keyID: DataKeyID(1), salt: Salt(salt)),
            contentHash: .sha256([UInt8(sequence)]), byteCount: 8_000_000)
    }

    private static func data(
        _ first: UInt64, _ count: UInt64, segment number: UInt64, at position: UInt32, bytes: UInt32, blocks: UInt8 = 8,
        offset: UInt8 = 0
    ) -> Extent {
        let record = RecordLocation(position: position, byteCount: bytes, blockCount: blocks)
        return Extent(
            range: BlockRange(first: BlockIndex(first), count: count),
            mapping: .data(BlockLocation(segment: segment(number), record: record, blockOffset: offset)))
    }

    private static let extents = [
        data(0, 8, segment: 2, at: 32, bytes: 9321),
        data(8, 8, segment: 2, at: 9353, bytes: 10_177),
        Extent(range: BlockRange(first: BlockIndex(16), count: 240), mapping: .zero),
        data(300, 2, segment: 1, at: 70_001, bytes: 32_784, offset: 3),
        data(1000, 1, segment: 2, at: 19_530, bytes: 4112, blocks: 1),
    ]
    private static let shape: RunShape = {
        var shape = RunShape.standard
        shape.pageExtentsMax = 3
        shape.segmentsPerPage = 1
        return shape
    }()

    private static func build() throws -> SealedRun {
        let cipher = try KeyRing.fixed.sealing(.run, identity: RunFormat.identity(volume, epoch), salt: salt)
        var builder = RunBuilder(volume: volume, epoch: epoch, cipher: cipher, shape: shape)
        for extent in extents { builder.append(extent) }
        return try builder.seal()
    }

    private func pages(of run: SealedRun) throws -> [(ArraySlice<UInt8>, PageLocation)] {
        let cipher = try KeyRing.fixed.opening(run.reference.header, identity: run.reference.identity)
        var locations: [PageLocation] = []
        for (tree, kind) in [
            (run.reference.extents, RunFormat.PageKind.extentIndex), (run.reference.segments, .segmentIndex),
        ] {
            #expect(tree.height == 1)
            locations.append(tree.root)
            let frame = run.bytes[Int(tree.root.position)..<Int(tree.root.end)]
            let index = try IndexPage(
                decoding: try PageFrame.open(frame, at: tree.root, with: cipher, object: "golden"), kind: kind,
                before: tree.root.position, object: "golden")
            locations += (0..<index.count).map(index.location)
        }
        return locations.map { (run.bytes[Int($0.position)..<Int($0.end)], $0) }
    }

    @Test func asWritten() throws {
        let run = try Self.build()
        let hex = run.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        let lines = stride(from: 0, to: hex.count, by: 64).map { String(hex.dropFirst($0).prefix(64)) }
        #expect(lines.joined(separator: "\n") == Self.golden)
        #expect(run.reference.contentHash.description == Self.goldenHash)
        #expect(run.key.text == "volumes/d3b07384d113edec49eaa6238ad5ff00/map/0000000000000003/\(Self.goldenHash)")
        for (frame, location) in try pages(of: run) {
            let cipher = try KeyRing.fixed.opening(run.reference.header, identity: run.reference.identity)
            #expect(try cipher.open(frame, at: location.position, object: "golden").first == 0, "no page is compressed")
        }
        var writer = ByteWriter()
        run.reference.encode(into: &writer)
        #expect(Digest.sha256(writer.finish()).description == Self.goldenReferenceHash)
    }

    @Test func asRead() async throws {
        let digits = Array(Self.golden.utf8.filter { $0 != UInt8(ascii: "\n") })
        let bytes = stride(from: 0, to: digits.count, by: 2).compactMap {
            UInt8(String(decoding: digits[$0..<$0 + 2], as: UTF8.self), radix: 16)
        }
        let reference = try RunVerifier.reference(of: bytes, volume: Self.volume, epoch: Self.epoch, keys: .fixed)
        try RunVerifier.verify(bytes, reference, keys: .fixed)
        let reader = MapReader(
            store: MemoryStore([reference.key: bytes]), keys: .fixed, pages: PageCache(bytes: 1 << 20))
        let found = try await reader.lookup(reference.range, in: MapLayout.empty.adding(level0: reference))
        #expect(found == Self.extents)
        var usages: [SegmentUsage] = []
        try await reader.forEachSegment(of: reference) { usages.append($0) }
        #expect(
            usages == [
                SegmentUsage(segment: Self.segment(1), liveBytes: 32_784 / 4),
                SegmentUsage(segment: Self.segment(2), liveBytes: 9321 + 10_177 + 4112),
            ])
    }

    private static let goldenHash = "21314b3139b0e24eb6dba5196488317eed84fbaf88f0564a4d14b20d6d65bdac"
    private static let goldenReferenceHash = "b8299f8e790089a8633833aa6cd06945ecd83b98eff04a9d5a359f55b4239cdd"
    private static let golden = """
        5a52465301000201010000000000000000112233445566778899aabbccddeeff
        adc325eb57f709ad24eff8dc08d5e9ee9655d8eac3349a7df83882e07119a7c8
        b1b67a75a0fe96e74d3cb121a937d418d32aad67bb27317f72986105695eb5f9
        6814d91d8c206a442cef1d6a4b0f22c19601c9c85fb06fcc8b09fe0ce72beb04
        2aa93a8111dbcfe03e87f962784e06632f966fdc584c6d15c53aea8867977dd0
        d494d1ff78942f88a63649a399f5dd739a71bcbf52f30a0a7a935925a20634db
        619a20114b07299eefac8dde4084797a16c131cb4c5e2c6eda19f8c67cfa5c1e
        b2e3c5699c2d1602acca49cfdd2c94281bb610adfde3bf7481536e92566dfce9
        4796a795e5d2a4d9809fd0779eaf3bb0b33746e6bd1a239a67b922b13dd644bb
        9d42750789636a03759c071345e77ce97ce8ec77e360e98160e8ab28edbb29a4
        6754d312b6abd29ddc6bbc9edfcc4001c9f566b551164fe65ed7c46ceec0c20e
        c64010978b7fe13e84f8d4d6e30d161832ff77980ed74a0e1fc53cf166e16ac6
        6bf3065092ccb26ff9885fbbd69ff2c5a8778a0adcc6e99c92da3bfbf532b83c
        827e801ed9c4fe5accafa160ca86f4937ea6e60d820e51897c4dc513e677eece
        22a70ea63bac74bd6f567a7f43556b4f27c3bdb0209627787922c9e05f75c3
        """
}
