import Codec
import ObjectStorage
import SegmentLog
import StoreCore
import Testing

@testable import Cleaner

/// A record moves so often at most that every reader finds it.
@Suite struct MovesAreCounted {
    private func segment(_ number: UInt64) -> SegmentReference {
        SegmentReference(
            id: .packed(generation: number, hash: Digest(high: 0, low: UInt128(number))),
            header: ObjectHeader(kind: .segment, algorithm: .chaCha20Poly1305, keyID: DataKeyID(1), salt: Salt(1)),
            contentHash: Digest(high: 1, low: UInt128(number)), byteCount: 8192)
    }
    private func move(_ from: SegmentReference, _ to: SegmentReference, _ world: World) async throws {
        let place = RecordLocation(position: 32, byteCount: 4112, blockCount: 1)
        let record = RelocationRecord(
            victim: from.id, victimHash: from.contentHash, targets: [to],
            entries: [RelocationRecord.Entry(oldPosition: 32, target: 0, record: place)])
        _ = try await world.store.create(RelocationRecord.key(of: from.id), try record.sealed(with: world.keys))
    }
    private func follow(_ names: [SegmentReference], _ world: World) async throws -> NamedSegments {
        let context = GCContext(
            store: world.store, keys: world.keys, catalog: world.catalog, maps: world.maps(), time: world.time,
            options: world.options, dryRun: false, progress: { _, _, _ in })
        var named = NamedSegments()
        for segment in names { try named.add(segment) }
        try await named.follow(try await RelocationRecord.names(in: world.store), context)
        return named
    }

    /// One map names the first of a chain, another one of the middle.
    @Test func byTheLongestWay() async throws {
        let world = World()
        let chain = (1...6 as ClosedRange<UInt64>).map(segment)
        for (from, to) in zip(chain, chain.dropFirst()) { try await move(from, to, world) }
        for middle in chain.indices.dropFirst() {
            let named = try await follow([chain[0], chain[middle]], world)
            #expect(chain.map { named.moves[$0.id, default: 0] } == [0, 1, 2, 3, 4, 5], "named at \(middle)")
        }
    }

    @Test func andACircleEndsThePass() async throws {
        let world = World()
        let (one, two) = (segment(1), segment(2))
        try await move(one, two, world)
        try await move(two, one, world)
        await #expect { _ = try await follow([one], world) } throws: { ($0 as? StorageError)?.code == .corrupt }
    }
}
