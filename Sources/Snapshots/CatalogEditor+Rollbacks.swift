public import StoreCore

/// The hold by which a rollback keeps its target until the last manifest names what the target names.
///
/// It carries the epoch of who rolls back, because one that was killed leaves it behind: once that epoch can commit no
/// manifest any more, nothing rests on it.
public struct RollbackHold: Hashable, Sendable {
    private static let prefix = "rollback-"
    public let tag: String

    public init(epoch: Epoch) { tag = "\(Self.prefix)\(epoch)-\(OperationID.random())" }

    /// The epoch that a tag carries; nil for what is no rollback's.
    static func epoch(of tag: String) -> Epoch? {
        guard tag.hasPrefix(prefix) else { return nil }
        let parts = tag.dropFirst(prefix.count).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[1].utf8.count == 32, let epoch = UInt64(parts[0]) else { return nil }
        return Epoch(epoch)
    }
}

extension SnapshotRecord {
    /// Held by rollbacks of this epoch or earlier ones.
    fileprivate func rollbackTags(upTo epoch: Epoch) -> [String] {
        holds.filter { tag in RollbackHold.epoch(of: tag).map { $0 <= epoch } ?? false }
    }
    /// Held by a rollback, which may be under way or broken off.
    public var isHeldByRollback: Bool { !rollbackTags(upTo: Epoch(.max)).isEmpty }
}

extension CatalogState {
    /// True when rollbacks of this epoch or earlier ones hold snapshots of the volume.
    public func hasRollbackHolds(of volume: VolumeID, upTo epoch: Epoch) -> Bool {
        snapshots(of: volume).contains { !$0.rollbackTags(upTo: epoch).isEmpty }
    }
}

extension CatalogEditor {
    /// Releases what rollbacks of a volume hold that can no longer end: those of this epoch and earlier ones. To be
    /// called by who holds that epoch, with no rollback of its own under way, or when the epoch is over.
    public mutating func releaseRollbacks(of volume: VolumeID, upTo epoch: Epoch) throws(StorageError) {
        for snapshot in state.snapshots(of: volume) {
            for tag in snapshot.rollbackTags(upTo: epoch) { try release(.snapshot(snapshot.id), tag: tag) }
        }
    }
}
