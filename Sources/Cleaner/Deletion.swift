import SegmentLog
import Snapshots
import StoreCore

/// Finishes the deletion of a volume that the catalog does not know any more and whose deleter went away.
struct Deletion {
    let context: GCContext

    /// Claims the volume, closes every epoch and leaves the tombstone. May be repeated. Throws `busy` where another gc
    /// was faster.
    func finish(_ volume: VolumeID) async throws -> Manifest {
        let manifests = ManifestLog(volume: volume, store: context.store, keys: context.keys, time: context.time)
        do { return try await finish(volume, manifests) } catch
            where [.fenced, .notFound].contains(error.storageCode)
        {
            throw GCContext.rival(error)
        }
    }
    private func finish(_ volume: VolumeID, _ manifests: ManifestLog) async throws -> Manifest {
        let claimed = try await manifests.claim(token: .random(), host: "gc", takeOver: true).manifest
        var ends: [EpochEnd] = []
        for epoch in claimed.openEpochs {
            let covered = claimed.state.covered
            let after = epoch == covered.epoch ? covered.sequence : SegmentSequence(0)
            // The claimer's own epoch is closed as the deleter does it: by the epoch that will never be.
            let end = try await EpochLog.close(
                epoch, after: after, by: max(claimed.epoch, epoch.next), volume: volume, isGivenUp: true,
                store: context.store, keys: context.keys, time: context.time)
            ends.append(EpochEnd(epoch: epoch, end: end))
        }
        let closed = ends
        return try await manifests.commit(as: claimed.epoch) { manifest in
            for end in closed { try manifest.close(end.epoch, at: end.end) }
            manifest.isTombstone = true
        }
    }
}
