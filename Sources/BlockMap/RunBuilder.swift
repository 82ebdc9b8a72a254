public import Codec
public import ObjectStorage
public import SegmentLog
public import StoreCore

/// A run as it will lie in the store. Upload the bytes under the key; a second upload of them changes nothing.
public struct SealedRun: Sendable {
    public var reference: RunReference
    public var bytes: [UInt8]
    public var key: ObjectKey { reference.key }
    /// SHA-256 of `bytes`, for the store's check of the upload.
    public var objectHash: Digest { reference.contentHash }
}

/// Makes a run of extents that come in ascending order.
///
/// Pages are encoded as extents arrive. They are sealed at the end, since they name segments by rank in a sorted table
/// that only the last extent completes. Memory: the run's bytes before compression, a reference per segment, and while
/// sealing the object.
public struct RunBuilder: ~Copyable {
    let volume: VolumeID
    let epoch: Epoch
    private let cipher: ObjectCipher
    private let shape: RunShape

    private var pending: Extent?
    private var page = ExtentPageEncoder()
    private var staged: [StagedExtentPage] = []
    private var stagedBytes = 0
    private var table = SegmentTable()
    private var firstBlock: BlockIndex?
    private var end = BlockIndex(0)
    public private(set) var extentCount: UInt64 = 0

    /// - Parameters:
    ///   - volume: whose folder the run lies in.
    ///   - epoch: the writer's, claimed before.
    public init(volume: VolumeID, epoch: Epoch, keys: KeyRing, shape: RunShape = .standard) throws(StorageError) {
        let cipher = try keys.sealing(.run, identity: RunFormat.identity(volume, epoch))
        self.init(volume: volume, epoch: epoch, cipher: cipher, shape: shape)
    }
    /// For golden tests: with a cipher whose salt is known.
    init(volume: VolumeID, epoch: Epoch, cipher: ObjectCipher, shape: RunShape) {
        self.volume = volume
        self.epoch = epoch
        self.cipher = cipher
        self.shape = shape
    }

    public var isEmpty: Bool { pending == nil && extentCount == 0 }
    /// Bytes before compression.
    public var byteCount: Int { stagedBytes + page.byteCount + table.count * 80 }
    /// True when what follows should go to another run.
    public var isFull: Bool { byteCount >= shape.runBytes }

    /// Takes an extent that lies after all before it. Neighbours of one record, and of zeroes, become one extent.
    public mutating func append(_ extent: Extent) {
        guard !extent.range.isEmpty else { return }
        precondition(extent.range.first >= end, "extents of a run ascend")
        if firstBlock == nil { firstBlock = extent.range.first }
        end = extent.range.end
        if let joined = pending?.joined(with: extent) {
            pending = joined
        } else {
            settle()
            pending = extent
        }
    }

    private mutating func settle() {
        guard let extent = pending else { return }
        pending = nil
        page.append(extent, segment: table.number(of: extent))
        extentCount += 1
        if page.byteCount >= shape.pageBytes || page.count >= shape.pageExtentsMax { stage() }
    }
    private mutating func stage() {
        guard !page.isEmpty else { return }
        let full = page.finish()
        stagedBytes += full.byteCount
        staged.append(full)
        page = ExtentPageEncoder()
    }

    /// The run. There is at least one extent.
    public consuming func seal() throws(StorageError) -> SealedRun {
        var sealer = finish()
        while try sealer.sealPages(64) {}
        return try sealer.finish()
    }
    /// The same in slices, so that a large run does not hold up whatever else its thread has to do.
    public consuming func sealYielding() async throws -> SealedRun {
        var sealer = finish()
        while try sealer.sealPages(64) { await Task.yield() }
        return try sealer.finish()
    }

    private consuming func finish() -> RunSealer {
        settle()
        stage()
        guard let firstBlock else { preconditionFailure("a run holds extents") }
        return RunSealer(
            volume: volume, epoch: epoch, cipher: cipher, shape: shape, pages: staged, table: table,
            range: BlockRange(firstBlock, upTo: end), extentCount: extentCount)
    }

    /// The runs of a memtable, ascending; none for an empty one.
    public static func build(
        _ memtable: Memtable, volume: VolumeID, epoch: Epoch, keys: KeyRing, shape: RunShape = .standard
    ) throws -> [SealedRun] {
        guard !memtable.isEmpty else { return [] }
        var runs: [SealedRun] = []
        var builder = try RunBuilder(volume: volume, epoch: epoch, keys: keys, shape: shape)
        try memtable.forEach { extent in
            if builder.isFull {
                let next = try RunBuilder(volume: volume, epoch: epoch, keys: keys, shape: shape)
                runs.append(try exchange(&builder, with: next).seal())
            }
            builder.append(extent)
        }
        runs.append(try builder.seal())
        return runs
    }
}

extension Extent {
    /// Both as one extent, where `next` goes on in space and in its record.
    func joined(with next: Extent) -> Extent? {
        guard range.end == next.range.first else { return nil }
        switch (mapping, next.mapping) {
        case (.zero, .zero): break
        case (.data(let location), .data(let other)):
            guard location.record == other.record, UInt64(location.blockOffset) + range.count == other.blockOffset,
                location.segment == other.segment
            else { return nil }
        default: return nil
        }
        return Extent(range: BlockRange(range.first, upTo: next.range.end), mapping: mapping)
    }
}
