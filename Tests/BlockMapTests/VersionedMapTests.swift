import Codec
import ObjectStorage
import SegmentLog
import StoreCore
import Testing

@testable import BlockMap

/// A map as an engine keeps it: a memtable over a layout that flushes and compactions change.
private struct TestMap {
    let store = MemoryStore()
    let keys = KeyRing.generate()
    let reader: MapReader
    var memtable = Memtable()
    var layout = MapLayout.empty
    var model: MapModel
    var policy = CompactionPolicy()
    let volume = ExtentSource.volume

    init(blocks: Int, cacheBytes: Int, shape: RunShape) {
        reader = MapReader(store: store, keys: keys, pages: PageCache(bytes: cacheBytes))
        model = MapModel(blocks: blocks)
        policy.shape = shape
        policy.level1BytesMax = 5000
        policy.sizeRatio = 3
        policy.smallRunBytes = 1500
    }

    mutating func write(_ extents: [Extent]) {
        memtable.insert(extents)
        for extent in extents { model.apply(extent) }
    }
    mutating func flush() async throws {
        for run in try RunBuilder.build(memtable, volume: volume, epoch: Epoch(3), keys: keys, shape: policy.shape) {
            try await run.upload(to: store)
            try RunVerifier.verify(run.bytes, run.reference, keys: keys)
            layout = layout.adding(level0: run.reference)
        }
        memtable = Memtable()
    }
    mutating func compact(_ plan: CompactionPlan) async throws {
        let edit = try await Compactor.run(
            plan, reader: reader, volume: volume, epoch: Epoch(3), store: store, shape: policy.shape)
        layout = try layout.applying(edit)
    }
    func lookup(_ range: BlockRange) async throws -> [BlockLocation?]? {
        var found = IntervalMap<Mapping>()
        for extent in try await reader.lookup(range, in: layout) { found.set(extent.range, extent.mapping) }
        for extent in memtable.lookup(range) { found.set(extent.range, extent.mapping) }
        var extents: [Extent] = []
        found.forEach { extents.append(Extent(range: $0, mapping: $1)) }
        return MapModel.cells(of: extents, in: range)
    }
}

@Suite struct MapSaysWhatWasWritten {
    private static let blocks = 3000
    private static let whole = BlockRange(first: BlockIndex(0), count: UInt64(blocks))

    private func randomRange(_ random: inout SplitMix64) -> BlockRange {
        let first = Int.random(in: 0..<Self.blocks, using: &random)
        let count = Int.random(in: 1...min(200, Self.blocks - first), using: &random)
        return BlockRange(first: BlockIndex(UInt64(first)), count: UInt64(count))
    }

    /// Old layouts are what snapshots keep: they must go on saying what they said.
    @Test(arguments: [1, 2, 3, 4] as [UInt64], [0, 20_000, 10 << 20])
    func whateverIsFlushedAndMerged(seed: UInt64, cacheBytes: Int) async throws {
        var source = ExtentSource(seed: seed, blocks: Self.blocks)
        var random = SplitMix64(seed: seed &+ 1000)
        var map = TestMap(blocks: Self.blocks, cacheBytes: cacheBytes, shape: seed % 2 == 0 ? .standard : .tiny)
        var snapshots: [(MapLayout, MapModel)] = []
        for step in 0..<300 {
            map.write(source.extent(longest: step % 40 == 0 ? 900 : 40))
            switch Int.random(in: 0..<16, using: &random) {
            case 0: try await map.flush()
            case 1...3:
                if let plan = CompactionPlan.next(for: map.layout, policy: map.policy) { try await map.compact(plan) }
            case 4 where step % 5 == 0:
                if let plan = CompactionPlan.full(for: map.layout, policy: map.policy) { try await map.compact(plan) }
            case 5 where step % 3 == 0:
                try await map.flush()
                snapshots.append((map.layout, map.model))
            default: break
            }
            let range = randomRange(&random)
            #expect(try await map.lookup(range) == map.model.cells(in: range), "seed \(seed), step \(step), \(range)")
            checkInvariants(map.layout)
        }
        for (layout, model) in snapshots {
            let found = try await map.reader.lookup(Self.whole, in: layout)
            #expect(MapModel.cells(of: found, in: Self.whole) == model.cells)
            var streamed: [Extent] = []
            try await map.reader.forEachExtent(in: layout) { streamed.append($0) }
            #expect(MapModel.cells(of: streamed, in: Self.whole) == model.cells)
            let part = randomRange(&random)
            streamed = []
            try await map.reader.forEachExtent(in: layout, range: part) { streamed.append($0) }
            #expect(MapModel.cells(of: streamed, in: part) == model.cells(in: part))
        }
        #expect(snapshots.count > 2)
    }

    private func checkInvariants(_ layout: MapLayout) {
        for level in layout.levels.dropFirst() {
            for (run, next) in zip(level, level.dropFirst()) { #expect(run.range.end <= next.range.first) }
        }
    }

    @Test func mergingChangesNothingThatALookupSays() async throws {
        var source = ExtentSource(seed: 77, blocks: Self.blocks)
        var map = TestMap(blocks: Self.blocks, cacheBytes: 1 << 20, shape: .tiny)
        var merges = 0
        for step in 0..<40 {
            for _ in 0..<12 { map.write(source.extent()) }
            try await map.flush()
            while let plan = CompactionPlan.next(for: map.layout, policy: map.policy) {
                try await map.compact(plan)
                merges += 1
                #expect(try await map.lookup(Self.whole) == map.model.cells, "step \(step)")
                #expect(merges < 2000)
            }
        }
        #expect(map.layout.levels.count > 2)
        for _ in 0..<12 { map.write(source.extent()) }
        try await map.flush()
        let plan = try #require(CompactionPlan.full(for: map.layout, policy: map.policy))
        try await map.compact(plan)
        #expect(try await map.lookup(Self.whole) == map.model.cells)
        #expect(CompactionPlan.full(for: map.layout, policy: map.policy) == nil)
        // Nothing is shadowed and no zeroes are left: the map is as large as what it says.
        var live: UInt64 = 0
        for run in map.layout.allRuns { try await map.reader.forEachSegment(of: run) { live += $0.liveBytes } }
        try await map.reader.forEachExtent(in: map.layout) { extent in
            guard case .data(let location) = extent.mapping else {
                Issue.record("zeroes are left")
                return
            }
            let bytes = UInt64(location.record.byteCount) * extent.range.count
            let blocks = UInt64(location.record.blockCount)
            live -= (bytes + blocks - 1) / blocks
        }
        #expect(live == 0)
    }

    @Test func lookupNowNeverFetches() async throws {
        var source = ExtentSource(seed: 5, blocks: Self.blocks)
        var map = TestMap(blocks: Self.blocks, cacheBytes: 10 << 20, shape: .tiny)
        for _ in 0..<200 { map.write(source.extent()) }
        try await map.flush()
        #expect(try map.reader.lookupNow(Self.whole, in: map.layout) == nil)
        let found = try await map.reader.lookup(Self.whole, in: map.layout)
        #expect(try map.reader.lookupNow(Self.whole, in: map.layout) == found)
        try await map.store.delete(map.layout.allRuns.map(\.key))
        #expect(try map.reader.lookupNow(Self.whole, in: map.layout) == found)
    }

    @Test func aDeletedRunIsNotFound() async throws {
        var map = TestMap(blocks: Self.blocks, cacheBytes: 10 << 20, shape: .standard)
        var source = ExtentSource(seed: 6, blocks: Self.blocks)
        map.write(source.extent())
        try await map.flush()
        try await map.store.delete(map.layout.allRuns.map(\.key))
        let error = await #expect(throws: StorageError.self) { try await map.reader.lookup(Self.whole, in: map.layout) }
        #expect(error?.code == .notFound)
    }

    @Test func zeroesHideAndStayUntilNothingOlderLiesBelow() async throws {
        var map = TestMap(blocks: Self.blocks, cacheBytes: 1 << 20, shape: .standard)
        var source = ExtentSource(seed: 9, blocks: Self.blocks)
        let data = BlockRange(first: BlockIndex(10), count: 20)
        let hidden = BlockRange(first: BlockIndex(15), count: 5)
        map.write(source.data(data))
        try await map.flush()
        map.write([Extent(range: hidden, mapping: .zero)])
        try await map.flush()
        let found = try await map.reader.lookup(Self.whole, in: map.layout)
        #expect(found.map(\.range.first.value) == [10, 15, 20])
        #expect(found[1] == Extent(range: hidden, mapping: .zero))
        let plan = try #require(CompactionPlan.full(for: map.layout))
        #expect(plan.dropsZeroes)
        try await map.compact(plan)
        #expect(try await map.reader.lookup(Self.whole, in: map.layout).map(\.range.first.value) == [10, 20])
    }

    @Test func relocatedBlocksAreWrittenWithTheirNewPlaces() async throws {
        var map = TestMap(blocks: Self.blocks, cacheBytes: 1 << 20, shape: .standard)
        var source = ExtentSource(seed: 10, blocks: Self.blocks)
        map.write(source.data(BlockRange(first: BlockIndex(100), count: 50)))
        try await map.flush()
        let new = SegmentReference(
            id: .packed(generation: 7, hash: .zero),
            header: ObjectHeader(kind: .segment, algorithm: .chaCha20Poly1305, keyID: DataKeyID(1), salt: Salt(1)),
            contentHash: .zero, byteCount: 1 << 20)
        let plan = try #require(CompactionPlan.full(for: map.layout))
        let edit = try await Compactor.run(
            plan, reader: map.reader, volume: map.volume, epoch: Epoch(3), store: map.store
        ) { location in
            var moved = location
            moved.segment = new
            return moved
        }
        let layout = try map.layout.applying(edit)
        var segments: [SegmentReference] = []
        for run in layout.allRuns { try await map.reader.forEachSegment(of: run) { segments.append($0.segment) } }
        #expect(segments == [new])
        for extent in try await map.reader.lookup(Self.whole, in: layout) {
            guard case .data(let location) = extent.mapping else { continue }
            #expect(location.segment == new)
        }
    }

    /// Many at once, with a cache that holds next to nothing.
    @Test func lookupsMayRunAtOnce() async throws {
        var source = ExtentSource(seed: 8, blocks: Self.blocks)
        var map = TestMap(blocks: Self.blocks, cacheBytes: 4000, shape: .tiny)
        for _ in 0..<6 {
            for _ in 0..<60 { map.write(source.extent()) }
            try await map.flush()
        }
        let (reader, layout, model) = (map.reader, map.layout, map.model)
        try await withThrowingTaskGroup(of: Bool.self) { group in
            for seed in 0..<16 {
                group.addTask {
                    var random = SplitMix64(seed: UInt64(seed))
                    for _ in 0..<20 {
                        let first = UInt64.random(in: 0..<2900, using: &random)
                        let range = BlockRange(first: BlockIndex(first), count: .random(in: 1...100, using: &random))
                        let found = try await reader.lookup(range, in: layout)
                        guard MapModel.cells(of: found, in: range) == model.cells(in: range) else { return false }
                    }
                    return true
                }
            }
            for try await isRight in group { #expect(isRight) }
        }
    }
}
