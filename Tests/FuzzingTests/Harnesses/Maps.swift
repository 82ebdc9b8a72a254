import Codec
import ObjectStorage
import SegmentLog
import StoreCore

@testable import BlockMap

extension Harness {
    static let maps: [Harness] = [
        Harness(
            // Columns without a width have values without bytes: 65,536 extents at the most.
            name: "extent-page", memory: { (12 << 20) + 256 * $0 },
            seeds: { try [1, 4, 30].map { try pages(.extents, extents: $0)[0] } },
            body: { input in
                let page = try ExtentPage(decoding: input, object: "page")
                var last = BlockIndex(0)
                for index in 0..<page.count {
                    let range = page.range(at: index)
                    require(range.first >= last && !range.isEmpty, "extents ascend, apart")
                    require(page.firstIndex(endingAfter: range.first) == index, "an extent is found by its block")
                    last = range.end
                    guard let rank = page.segmentRank(at: index) else { continue }
                    let location = page.location(at: index, in: Fixtures.segment(UInt64(rank % 7)))
                    require(
                        UInt64(location.blockOffset) + range.count <= UInt64(location.record.blockCount),
                        "an extent lies within its record")
                    _ = page.liveBytes(at: index)
                }
                require(last.value <= RunFormat.blocksMax, "no block lies beyond the largest volume")
                require(page.firstIndex(endingAfter: last) == page.count, "behind the last there is none")
            }),
        Harness(
            name: "index-page", memory: { (12 << 20) + 256 * $0 },
            seeds: { try [12, 60].map { [2] + (try pages(.extentIndex, extents: $0)[0]) } },
            body: { input in
                var choices = Choices(input)
                let kind: RunFormat.PageKind = choices.byte() & 1 == 0 ? .extentIndex : .segmentIndex
                let end: UInt64 = 1 << 40
                let page = try IndexPage(decoding: choices.all(), kind: kind, before: end, object: "page")
                var (key, position): (UInt64?, UInt64?) = (nil, nil)
                for index in 0..<page.count {
                    let location = page.location(at: index)
                    require(location.end <= end, "children lie before their index")
                    require(position.map { $0 == location.position } ?? true, "children follow each other")
                    require(key.map { $0 < page.key(at: index) } ?? true, "keys ascend")
                    require(page.child(for: page.key(at: index)) == index, "a child is found by its key")
                    (key, position) = (page.key(at: index), location.end)
                }
                _ = (page.child(for: 0), page.child(for: .max))
            }),
        Harness(
            name: "segment-page",
            seeds: { try [1, 40].map { try pages(.segments, extents: $0)[0] } },
            body: { input in
                let page = try SegmentPage(decoding: input, object: "page", intern: { $0 })
                let bytes = SegmentPage.encode(page.usages[...], firstRank: page.firstRank)
                let again = try SegmentPage(decoding: bytes, object: "again", intern: { $0 })
                require(
                    again.usages == page.usages && again.firstRank == page.firstRank,
                    "a page of segments is written as it was read")
                _ = (page.segment(rank: 0), page.segment(rank: page.firstRank), page.segment(rank: .max))
            }),
        Harness(
            name: "packed-column", memory: { (8 << 20) + 256 * $0 },
            seeds: {
                [[1, 2, 3], [7, 7, 7, 7], [0, 1 << 40], [UInt64](repeating: 1 << 30, count: 100) + [5]].map { values in
                    var writer = ByteWriter()
                    PackedColumn(values).encode(into: &writer)
                    return [UInt8(values.count), 0] + writer.finish()
                }
            },
            body: { input in
                var choices = Choices(input)
                let count = choices.number16() % 4096
                var reader = ByteReader(choices.all(), object: "column")
                let column = try PackedColumn(decoding: &reader, count: count)
                let values = column.values
                require(PackedColumn(values).values == values, "a column holds what was put into it")
                guard zip(values, values.dropFirst()).allSatisfy({ $0 < $1 }) else { return }
                for (index, value) in values.enumerated().prefix(256) {
                    require(column.lastIndex(notAbove: value) == index, "a value is found")
                }
            }),
        Harness(
            name: "run-trailer",
            seeds: { [[0] + (try Fixtures.run(30, Fixtures.smallShape).reference.contents.bytes)] },
            body: { input in
                var choices = Choices(input)
                let objectBytes = UInt64(choices.byte()) << 12 | 0xfff
                let bytes = choices.all()
                let contents = try RunContents(decoding: bytes, objectBytes: objectBytes, object: "run")
                require(contents.bytes == bytes, "a trailer is written as it was read")
                _ = contents.range.end
                require(contents.extents.root.end <= objectBytes, "a root lies within its object")
            }),
        Harness(
            name: "map-layout",
            seeds: {
                var writer = ByteWriter()
                let runs = try [4, 30].map { try Fixtures.run($0, Fixtures.smallShape).reference }
                MapLayout(levels: [runs, [runs[0]]]).encode(into: &writer)
                return [writer.finish()]
            },
            body: { input in
                var reader = ByteReader(input, object: "layout")
                let layout = try MapLayout(decoding: &reader, object: "layout")
                var writer = ByteWriter()
                layout.encode(into: &writer)
                var second = ByteReader(writer.finish(), object: "again")
                require(
                    try MapLayout(decoding: &second, object: "again") == layout, "a layout is written as it was read")
                _ = layout.byteCount
                for level in layout.levels.indices.dropFirst() {
                    _ = layout.overlapping(BlockRange(first: BlockIndex(0), count: RunFormat.blocksMax), level: level)
                }
            }),
        wholeRun,
    ]

    /// The contents of a run's pages of one kind.
    static func pages(_ wanted: RunFormat.PageKind, extents: UInt64) throws -> [[UInt8]] {
        try contents(of: Fixtures.run(extents, wanted == .extents ? .standard : Fixtures.smallShape)).filter {
            $0.first == wanted.rawValue
        }
    }
    /// All pages of a run in order, without the trailer.
    static func contents(of run: SealedRun) throws -> [[UInt8]] { try frames(of: run).map(\.content) }

    /// The same with the plaintexts of their frames.
    private static func frames(of run: SealedRun) throws -> [(content: [UInt8], plaintext: [UInt8])] {
        let cipher = try Fixtures.keys.opening(run.reference.header, identity: run.reference.identity)
        var found: [(UInt64, (content: [UInt8], plaintext: [UInt8]))] = []
        func walk(_ location: PageLocation, _ height: UInt8, _ kind: RunFormat.PageKind) throws {
            let frame = run.bytes[Int(location.position)..<Int(location.end)]
            let content = try PageFrame.open(frame, at: location, with: cipher, object: "seed")
            let plaintext = try cipher.open(frame, at: location.position, object: "seed")
            found.append((location.position, (content, plaintext)))
            guard height > 0 else { return }
            let index = try IndexPage(decoding: content, kind: kind, before: location.position, object: "seed")
            for child in 0..<index.count { try walk(index.location(at: child), height - 1, kind) }
        }
        try walk(run.reference.extents.root, run.reference.extents.height, .extentIndex)
        try walk(run.reference.segments.root, run.reference.segments.height, .segmentIndex)
        return found.sorted { $0.0 < $1.0 }.map(\.1)
    }

    /// A whole run, genuine in every tag, whose pages are the input's: looked up, streamed and verified.
    ///
    /// Input: the trailer's length and plaintext, then the same of each page's frame.
    private static let wholeRun = Harness(
        name: "run", memory: { (64 << 20) + 256 * $0 + 4 * decompressed($0) },
        seeds: {
            try [UInt64(3), 30].map { extents in
                let run = try Fixtures.run(extents, Fixtures.smallShape)
                return try run.reference.contents.bytes.asPart + frames(of: run).flatMap(\.plaintext.asPart)
            }
        },
        body: { input in
            var choices = Choices(input)
            let trailer = choices.part()
            let identity = RunFormat.identity(Fixtures.volume, Epoch(3))
            let cipher = try Fixtures.cipher(.run, identity)
            var object = cipher.header.bytes
            while !choices.isEmpty, object.count < 64 << 10 {
                try cipher.seal(choices.part(), at: UInt64(object.count), appendingTo: &object)
            }
            try cipher.seal(trailer, at: UInt64(object.count), appendingTo: &object)
            let reference = try RunVerifier.reference(
                of: object, volume: Fixtures.volume, epoch: Epoch(3), keys: Fixtures.keys)
            let bytes = object
            try wait {
                let store = MemoryStore([reference.key: bytes])
                let reader = MapReader(store: store, keys: Fixtures.keys, pages: PageCache(bytes: 1 << 20))
                let layout = MapLayout(levels: [[reference]])
                try await allowed {
                    for extent in try await reader.lookup(reference.range, in: layout) {
                        require(reference.range.contains(extent.range), "a look-up finds what was asked for")
                    }
                }
                try await allowed { try await reader.forEachExtent(in: layout) { _ in } }
                try await allowed { try await reader.forEachSegment(of: reference) { _ in } }
            }
            try RunVerifier.verify(object, reference, keys: Fixtures.keys)
        })

    /// One refusal does not keep the others from being tried.
    private static func allowed(_ body: () async throws -> Void) async throws {
        do { try await body() } catch let error as StorageError where error.code == .corrupt {}
    }
}
