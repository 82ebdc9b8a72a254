import Codec
import StoreCore

/// Writes the object of a run whose extents are all known: page by page, so that its owner may pause between pages.
struct RunSealer {
    private let volume: VolumeID
    private let epoch: Epoch
    private let cipher: ObjectCipher
    private let shape: RunShape
    private let range: BlockRange
    private let extentCount: UInt64
    private let usages: [SegmentUsage]
    private let ranks: [Int]
    /// Last first, so that each is freed as it is written.
    private var pages: [StagedExtentPage]
    private var entries: [IndexEntry] = []
    private var object: [UInt8]

    init(
        volume: VolumeID, epoch: Epoch, cipher: ObjectCipher, shape: RunShape, pages: [StagedExtentPage],
        table: SegmentTable, range: BlockRange, extentCount: UInt64
    ) {
        self.volume = volume
        self.epoch = epoch
        self.cipher = cipher
        self.shape = shape
        self.pages = pages.reversed()
        self.range = range
        self.extentCount = extentCount
        (usages, ranks) = table.sorted()
        object = cipher.header.bytes
    }

    /// Writes up to `count` pages of extents; false when none are left.
    mutating func sealPages(_ count: Int) throws(StorageError) -> Bool {
        for _ in 0..<count {
            guard let page = pages.popLast() else { return false }
            entries.append(IndexEntry(key: page.firstBlock, location: try seal(page.encoded(ranks: ranks))))
        }
        return !pages.isEmpty
    }

    /// Writes what follows the extents.
    consuming func finish() throws(StorageError) -> SealedRun {
        precondition(pages.isEmpty, "all pages of extents come before the rest")
        let extents = try index(entries, kind: .extentIndex)
        let segments = try segmentTree()
        let contents = RunContents(
            extentCount: extentCount, range: range, extents: extents, segmentCount: UInt32(usages.count),
            segments: segments)
        // Without compression, so that its size is fixed.
        try cipher.seal(contents.bytes, at: UInt64(object.count), appendingTo: &object)
        let reference = RunReference(
            volume: volume, epoch: epoch, contentHash: .sha256(object), byteCount: UInt64(object.count),
            header: cipher.header, contents: contents)
        return SealedRun(reference: reference, bytes: object)
    }

    private mutating func seal(_ content: [UInt8]) throws(StorageError) -> PageLocation {
        try PageFrame.seal(content, with: cipher, appendingTo: &object)
    }

    private mutating func segmentTree() throws(StorageError) -> PageTree {
        var pages: [IndexEntry] = []
        for rank in stride(from: 0, to: usages.count, by: shape.segmentsPerPage) {
            let part = usages[rank..<min(rank + shape.segmentsPerPage, usages.count)]
            let location = try seal(SegmentPage.encode(part, firstRank: rank))
            pages.append(IndexEntry(key: UInt64(rank), location: location))
        }
        return pages.isEmpty ? .empty : try index(pages, kind: .segmentIndex)
    }

    /// Index upon index until one page names all.
    private mutating func index(_ leaves: [IndexEntry], kind: RunFormat.PageKind) throws(StorageError) -> PageTree {
        var level = leaves
        var height: UInt8 = 0
        while level.count > 1 {
            var parents: [IndexEntry] = []
            for start in stride(from: 0, to: level.count, by: shape.indexEntriesMax) {
                let children = level[start..<min(start + shape.indexEntriesMax, level.count)]
                let location = try seal(IndexPage.encode(children, kind: kind))
                parents.append(IndexEntry(key: level[start].key, location: location))
            }
            level = parents
            height += 1
        }
        return PageTree(root: level[0].location, height: height)
    }
}
