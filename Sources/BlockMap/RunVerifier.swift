public import Codec
import ObjectStorage
import SegmentLog
public import StoreCore

/// Proves a run from its bytes: hash, header, every tag, and that index, extents and table of segments agree.
public enum RunVerifier {
    /// Throws `corrupt` for whatever is not exactly the run that `reference` names.
    public static func verify(_ bytes: [UInt8], _ reference: RunReference, keys: KeyRing) throws(StorageError) {
        let object = reference.key.text
        let hash = Digest.sha256(bytes)
        guard hash == reference.contentHash else {
            throw .corrupt(object, "its content is another", expected: "\(reference.contentHash)", actual: "\(hash)")
        }
        let found = try self.reference(of: bytes, volume: reference.volume, epoch: reference.epoch, keys: keys)
        guard found.byteCount == reference.byteCount, found.header == reference.header,
            found.contents == reference.contents
        else { throw .corrupt(object, "it is not what its reference says") }
        var walk = RunWalk(
            bytes: bytes, reference: reference,
            cipher: try keys.opening(reference.header, identity: reference.identity, object: object))
        try walk.run()
    }

    /// The reference of a run, from its bytes alone: header and trailer are opened, pages are not.
    public static func reference(
        of bytes: [UInt8], volume: VolumeID, epoch: Epoch, keys: KeyRing
    ) throws(StorageError) -> RunReference {
        let hash = Digest.sha256(bytes)
        let identity = RunFormat.identity(volume, epoch)
        let object = "\(identity)/\(hash)"
        let header = try ObjectHeader(decoding: bytes[...], expecting: .run, object: object)
        let cipher = try keys.opening(header, identity: identity, object: object)
        let position = bytes.count - RunFormat.trailerBytes
        guard position >= ObjectHeader.byteCount else { throw .corrupt(object, "it is too short for a run") }
        let trailer = try cipher.open(bytes[position...], at: UInt64(position), object: object)
        let contents = try RunContents(decoding: trailer, objectBytes: UInt64(bytes.count), object: object)
        return RunReference(
            volume: volume, epoch: epoch, contentHash: hash, byteCount: UInt64(bytes.count), header: header,
            contents: contents)
    }
}

/// Goes through all pages of a run, in order, and keeps count.
private struct RunWalk {
    let bytes: [UInt8]
    let reference: RunReference
    let cipher: ObjectCipher
    private let object: String
    /// Where the next page must begin.
    private var position = UInt64(ObjectHeader.byteCount)
    private var end = BlockIndex(0)
    private var extentCount: UInt64 = 0
    private var live: [UInt64]
    private var rank = 0
    private var lastSegment: SegmentID?

    init(bytes: [UInt8], reference: RunReference, cipher: ObjectCipher) {
        self.bytes = bytes
        self.reference = reference
        self.cipher = cipher
        object = reference.key.text
        // Never more than the object could name.
        live = [UInt64](repeating: 0, count: min(Int(reference.segmentCount), bytes.count))
    }

    mutating func run() throws(StorageError) {
        try walk(reference.extents, .extentIndex) { (walk, location, key) throws(StorageError) in
            try walk.extents(location, key)
        }
        guard extentCount == reference.extentCount, end == reference.range.end else {
            throw corrupt("its extents are not those that its trailer names")
        }
        if !reference.segments.isEmpty {
            try walk(reference.segments, .segmentIndex) { (walk, location, key) throws(StorageError) in
                try walk.segments(location, key)
            }
        }
        guard rank == Int(reference.segmentCount) else { throw corrupt("its table has \(rank) segments") }
        guard position + UInt64(RunFormat.trailerBytes) == UInt64(bytes.count) else {
            throw corrupt("bytes between its pages belong to none")
        }
    }

    private typealias Leaf = (inout RunWalk, PageLocation, UInt64?) throws(StorageError) -> Void

    /// Leaves first, then each level of the index, as they lie in the object.
    private mutating func walk(_ tree: PageTree, _ kind: RunFormat.PageKind, _ leaf: Leaf) throws(StorageError) {
        var levels: [[IndexEntry]] = [[IndexEntry(key: 0, location: tree.root)]]
        for _ in 0..<tree.height {
            var children: [IndexEntry] = []
            for parent in levels[0] {
                let page = try IndexPage(
                    decoding: try content(parent.location), kind: kind, before: parent.location.position, object: object
                )
                guard levels.count == 1 || page.key(at: 0) == parent.key else {
                    throw corrupt("an index names another page")
                }
                for index in 0..<page.count {
                    children.append(IndexEntry(key: page.key(at: index), location: page.location(at: index)))
                }
                // Pages of one level lie apart; where parents share children, each level could be a product.
                guard children.count <= bytes.count / ObjectCipher.tagBytes else {
                    throw corrupt("its indices name more pages than it can hold")
                }
            }
            levels.insert(children, at: 0)
        }
        for (index, level) in levels.enumerated() {
            for entry in level {
                guard entry.location.position == position else {
                    throw corrupt("a page does not follow the one before")
                }
                position = entry.location.end
                // A lone root has no parent that names its key.
                if index == 0 { try leaf(&self, entry.location, tree.height == 0 ? nil : entry.key) }
            }
        }
    }

    private mutating func extents(_ location: PageLocation, _ key: UInt64?) throws(StorageError) {
        let page = try ExtentPage(decoding: try content(location), object: object)
        guard key.map({ $0 == page.range(at: 0).first.value }) ?? true,
            extentCount > 0 || page.range(at: 0).first == reference.range.first
        else { throw corrupt("an index names another page") }
        for index in 0..<page.count {
            let range = page.range(at: index)
            guard range.first >= end else { throw corrupt("its extents do not ascend") }
            end = range.end
            guard let rank = page.segmentRank(at: index) else { continue }
            guard rank < live.count else { throw corrupt("segment \(rank) is not in its table") }
            live[rank] += page.liveBytes(at: index)
        }
        extentCount += UInt64(page.count)
    }

    private mutating func segments(_ location: PageLocation, _ key: UInt64?) throws(StorageError) {
        let page = try SegmentPage(decoding: try content(location), object: object) { $0 }
        guard page.firstRank == rank, key.map({ $0 == UInt64(rank) }) ?? true else {
            throw corrupt("its table of segments is out of order")
        }
        for usage in page.usages {
            guard lastSegment.map({ $0 < usage.segment.id }) ?? true else {
                throw corrupt("its segments do not ascend")
            }
            guard rank < live.count, live[rank] == usage.liveBytes else {
                throw corrupt("live bytes of \(usage.segment) are wrong")
            }
            lastSegment = usage.segment.id
            rank += 1
        }
    }

    private func content(_ location: PageLocation) throws(StorageError) -> [UInt8] {
        guard location.end <= UInt64(bytes.count) else { throw corrupt("a page lies outside of it") }
        return try PageFrame.open(
            bytes[Int(location.position)..<Int(location.end)], at: location, with: cipher, object: object)
    }
    private func corrupt(_ what: String) -> StorageError { .corrupt(object, at: position, what) }
}
