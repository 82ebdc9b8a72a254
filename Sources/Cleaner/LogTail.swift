import Snapshots
import StoreCore

/// Which segments of a volume's log must stay whatever the maps say.
struct LogTail: Hashable, Sendable {
    /// Of the oldest manifest that is kept: everything after it may be replayed, from this one or a later one.
    private(set) var covered: LogPosition
    /// Epochs to which a writer, however long paused, may still add.
    private var open: Set<Epoch>
    /// The last segments that count of closed epochs.
    private var ends: [Epoch: SegmentSequence] = [:]

    /// - Parameter kept: the volume's manifests from the floor on, the newest first; not empty.
    init(_ kept: [Manifest]) {
        guard let newest = kept.first else { preconditionFailure("a volume has a manifest") }
        covered = kept.map(\.state.covered).min() ?? newest.state.covered
        open = Set(newest.openEpochs)
        for manifest in kept {
            for closed in manifest.closedEpochs { ends[closed.epoch] = closed.end }
        }
    }

    /// True unless the segment lies in the covered part, or beyond the end of an epoch that is closed for good.
    ///
    /// Where a paused writer's upload is still in retry, it would otherwise acknowledge across a hole.
    func protects(_ epoch: Epoch, _ sequence: SegmentSequence) -> Bool {
        if LogPosition(epoch: epoch, sequence: sequence) <= covered {
            return open.contains(epoch) && epoch != covered.epoch
        }
        if open.contains(epoch) { return true }
        guard let end = ends[epoch] else { return true }
        return sequence <= end
    }
}
