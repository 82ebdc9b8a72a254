public import Cleaner
import Logging
public import StoreCore
import Synchronization

/// Garbage collection and verification, while volumes are served.
extension Engine {
    /// Gives back what nothing refers to any more, and repacks what is mostly dead. Volumes that are open here are
    /// checkpointed first, so that nothing is kept for the sake of their log alone.
    public func collectGarbage(dryRun: Bool, progress: @escaping ProgressHandler) async throws -> GCReport {
        try await collectGarbage(settings.gc, dryRun: dryRun, progress: progress)
    }
    func collectGarbage(
        _ options: GCOptions, dryRun: Bool, progress: @escaping ProgressHandler
    ) async throws -> GCReport {
        // What it seals must be under the newest key.
        try await storeKeys.refresh()
        if !dryRun {
            for volume in await soundVolumes() { try await volume.checkpointNow() }
        }
        let collector = GarbageCollector(
            store: store, keys: keys, catalog: catalog, maps: context.maps, time: context.time, options: options)
        do {
            let report = try await collector.collect(dryRun: dryRun) {
                progress(ProgressReport(phase: $0, done: $1, total: $2))
            }
            if !dryRun { await deleteReplacedSuperblocks() }
            return report
        } catch  where [.corrupt, .denied, .unsupported].contains(error.storageCode) {
            log.event(.gcStopped, "gc stopped before it deleted anything more: \(error)")
            throw error
        }
    }

    /// What stands in the way harms nothing that gc is for.
    private func deleteReplacedSuperblocks() async {
        do { try await storeKeys.deleteReplaced() } catch  where error.storageCode != .corrupt {
            log.warning("superblocks that were replaced are kept until the next gc: \(error)")
        } catch {
            log.event(.corruptObject, "superblocks that were replaced are kept: \(error)")
        }
    }

    /// Proves that each reference resolves and each hash and tag is right; `deep` reads all data. Of one volume or
    /// snapshot, or of the whole store. Damage is reported, not thrown.
    public func verify(
        _ reference: VolumeReference?, deep: Bool, progress: @escaping ProgressHandler
    ) async throws -> VerifyReport {
        let verifier = StoreVerifier(
            store: store, keys: keys, catalog: catalog, maps: context.maps, time: context.time)
        let report = try await verifier.verify(reference, deep: deep) {
            progress(ProgressReport(phase: $0, done: $1, total: $2))
        }
        for damage in report.damaged.prefix(Self.damageToldMax) {
            log.event(.corruptObject, details: ["object": damage.object], "found by verify: \(damage.problem)")
        }
        return report
    }

    /// The report has the rest.
    private static let damageToldMax = 20

    private func soundVolumes() async -> [Volume] {
        var volumes: [Volume] = []
        for id in openVolumes.withLock({ Array($0.openings.keys) }) {
            if let volume = await openVolume(id) { volumes.append(volume) }
        }
        return volumes
    }
}
