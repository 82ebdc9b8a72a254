public import StoreCore

/// Who has a volume open for writing, or had it last.
public struct Owner: Hashable, Sendable {
    /// Also in the owner's journal: a journal is replayed only if it holds the current manifest's token.
    public var token: OwnerToken
    /// For people, who must find the machine before they take over.
    public var host: String
    /// True after a clean end: all that was acknowledged is in the bucket, and anyone may claim.
    public var isReleased: Bool
    /// When it claimed the volume, by its own clock; for people.
    public var since: Timestamp

    public init(token: OwnerToken, host: String, isReleased: Bool = false, since: Timestamp) {
        self.token = token
        self.host = host
        self.isReleased = isReleased
        self.since = since
    }
}

/// An epoch that no writer can add to any more, because a fence stands behind its last segment.
public struct ClosedEpoch: Hashable, Sendable {
    public var epoch: Epoch
    /// The last segment that counts; 0 where there is none. What lies beyond the fence was never acknowledged.
    public var end: SegmentSequence
    public init(epoch: Epoch, end: SegmentSequence) {
        self.epoch = epoch
        self.end = end
    }
}

/// One version of a volume: `volumes/<volume>/manifest/<inverted number>`.
///
/// Invariants, which `ManifestLog` keeps from one number to the next: the epoch and the covered position never go
/// back; `openEpochs` is ascending and holds the current epoch once there was a claim; a tombstone stays one.
public struct Manifest: Hashable, Sendable {
    public let volume: VolumeID
    /// Counts the manifests of the volume, from 1.
    public internal(set) var number: UInt64
    /// Of the writer that made it; 0 before the first claim. A stale writer must lose against a higher one.
    public internal(set) var epoch: Epoch
    public internal(set) var owner: Owner?
    /// Ascending. Each may still receive segments from a writer that was paused: who opens the volume closes all but
    /// its own, the oldest first.
    public internal(set) var openEpochs: [Epoch]
    /// Ascending; only those that reach beyond the covered position.
    public internal(set) var closedEpochs: [ClosedEpoch]
    public var state: VolumeState
    /// The volume that this one began as a branch of, so that lineage survives the loss of the catalog.
    public let parent: VolumeID?
    /// The lowest manifest number that the writer knew to exist: a hint for who walks the history without a catalog.
    public var firstNumberKept: UInt64
    /// Of the last commits, the newest last; see `NumberedLog`.
    public internal(set) var recentOperations: [OperationID]
    public internal(set) var created: Timestamp
    /// The volume was deleted; nothing may be committed after this.
    public var isTombstone: Bool

    /// The first manifest of a volume; nobody owns it yet.
    public init(first state: VolumeState, of volume: VolumeID, parent: VolumeID? = nil, created: Timestamp) {
        self.init(
            volume: volume, number: 1, epoch: Epoch(0), owner: nil, openEpochs: [], closedEpochs: [], state: state,
            parent: parent, firstNumberKept: 1, recentOperations: [], created: created, isTombstone: false)
    }
    init(
        volume: VolumeID, number: UInt64, epoch: Epoch, owner: Owner?, openEpochs: [Epoch], closedEpochs: [ClosedEpoch],
        state: VolumeState, parent: VolumeID?, firstNumberKept: UInt64, recentOperations: [OperationID],
        created: Timestamp, isTombstone: Bool
    ) {
        self.volume = volume
        self.number = number
        self.epoch = epoch
        self.owner = owner
        self.openEpochs = openEpochs
        self.closedEpochs = closedEpochs
        self.state = state
        self.parent = parent
        self.firstNumberKept = firstNumberKept
        self.recentOperations = recentOperations
        self.created = created
        self.isTombstone = isTombstone
    }

    /// Records that a fence stands behind `end` of an epoch before the current one, or, with the last commit of a
    /// deletion or a clean close, of the current one. Again with the same end is no change; another end is `corrupt`,
    /// because a fence never moves.
    public mutating func close(_ epoch: Epoch, at end: SegmentSequence) throws(StorageError) {
        if let known = closedEpochs.first(where: { $0.epoch == epoch }) {
            guard known.end == end else {
                throw .corrupt(
                    "volumes/\(volume)", "epoch \(epoch) is closed twice", expected: "its end at \(known.end)",
                    actual: "\(end)")
            }
            return
        }
        guard let index = openEpochs.firstIndex(of: epoch) else { return }
        openEpochs.remove(at: index)
        closedEpochs.append(ClosedEpoch(epoch: epoch, end: end))
        closedEpochs.sort { $0.epoch < $1.epoch }
    }

    /// The owner's last commit: from now on anyone may claim the volume.
    public mutating func release() { owner?.isReleased = true }
}
