import BlockMap
import Codec
import ObjectStorage
import SegmentLog
import StoreCore
import Synchronization
import Testing

/// A memory store that counts GETs and, where asked, fails the first ones.
private final class CountingStore: ObjectStore {
    let base = MemoryStore()
    let gets = Atomic<Int>(0)
    let failures = Atomic<Int>(0)
    var location: String { base.location }

    func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        gets.add(1, ordering: .relaxed)
        // Others get a chance to ask for the same meanwhile.
        for _ in 0..<20 { await Task.yield() }
        if failures.load(ordering: .relaxed) > 0 {
            failures.subtract(1, ordering: .relaxed)
            throw StorageError(.unavailable, "the store is away")
        }
        return try await base.get(key, range: range)
    }
    func head(_ key: ObjectKey) async throws -> ObjectInfo? { try await base.head(key) }
    func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        try await base.create(key, bytes, sha256: sha256)
    }
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        try await base.list(prefix: prefix, after: after, limit: limit)
    }
    func delete(_ keys: [ObjectKey]) async throws { try await base.delete(keys) }
}

@Suite struct LookupsAskTheStoreLittle {
    private let store = CountingStore()
    private let keys = KeyRing.generate()
    private var reader: MapReader { MapReader(store: store, keys: keys, pages: PageCache(bytes: 64 << 20)) }

    /// One run of 2-block extents, written in random order so that they hardly compress.
    private func layout(blocks: UInt64) async throws -> MapLayout {
        var source = ExtentSource(seed: 1, blocks: 1 << 20)
        var memtable = Memtable(), order = SplitMix64(seed: 2)
        for first in stride(from: 0, to: blocks, by: 2).shuffled(using: &order) {
            memtable.insert(source.data(BlockRange(first: BlockIndex(first), count: 2)))
        }
        var layout = MapLayout.empty
        for run in try RunBuilder.build(memtable, volume: ExtentSource.volume, epoch: Epoch(3), keys: keys) {
            try await run.upload(to: store)
            layout = layout.adding(level0: run.reference)
        }
        return layout
    }

    @Test func aSmallRunIsOneGet() async throws {
        let layout = try await layout(blocks: 2000), reader = reader
        _ = try await reader.lookup(BlockRange(first: BlockIndex(77), count: 400), in: layout)
        #expect(store.gets.load(ordering: .relaxed) == 1)
    }

    @Test func aLargeRunIsIndexExtentsAndSegments() async throws {
        let layout = try await layout(blocks: 60_000), reader = reader
        _ = try await reader.lookup(BlockRange(first: BlockIndex(30_000), count: 1), in: layout)
        #expect(store.gets.load(ordering: .relaxed) <= 3)
        _ = try await reader.lookup(BlockRange(first: BlockIndex(30_002), count: 1), in: layout)
        #expect(store.gets.load(ordering: .relaxed) <= 3)
    }

    @Test(arguments: [0, 3]) func equalMissesShareOneGet(failures: Int) async throws {
        let layout = try await layout(blocks: 2000), reader = reader
        store.failures.store(failures, ordering: .relaxed)
        let failed = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    do {
                        _ = try await reader.lookup(BlockRange(first: BlockIndex(10), count: 4), in: layout)
                        return false
                    } catch { return true }
                }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        // Each failure is told to the one who made the request; the next one who waits tries again.
        #expect(failed == failures)
        #expect(store.gets.load(ordering: .relaxed) == failures + 1)
    }
}
