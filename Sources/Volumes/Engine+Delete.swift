import Journal
import Logging
import SegmentLog
import Snapshots
public import StoreCore
import Synchronization

extension Engine {
    /// Deletes a volume or a snapshot; its space comes back with the next gc. Refuses what is attached or held, and
    /// without `force` a volume that has snapshots. Branches live on: they name what they need themselves.
    public func delete(_ reference: VolumeReference, force: Bool) async throws -> DeletedReport {
        let known = try await catalog.newest()
        let (record, snapshot) = try known.resolve(reference)
        if let snapshot {
            let ended = try await epochWithoutRollback(of: snapshot, record)
            try await withoutClients([snapshot], of: record) {
                try await catalog.commit { editor in
                    if let ended { try editor.releaseRollbacks(of: record.id, upTo: ended) }
                    try editor.removeSnapshot(snapshot.id)
                }
            }
            return DeletedReport(names: ["\(reference)"])
        }
        let snapshots = known.snapshots(of: record.id)
        try await reserving(record) {
            try await refuseAttached(record)
            try await withoutClients(snapshots, of: record) {
                try await delete(record, with: snapshots, force: force)
            }
        }
        openVolumes.withLock { _ = $0.acceptsLoss.remove(record.name) }
        marks.forget(record.id)
        return DeletedReport(names: snapshots.map { "\(record.name)@\($0.name)" } + [record.name])
    }

    /// The claim shuts out every other writer, the catalog commit is the deletion, and fences and tombstone then keep
    /// writers out for good. Where the catalog refuses, the volume has only been claimed.
    ///
    /// - Parameter snapshots: all that it may have; nobody can attach these.
    private func delete(_ record: VolumeRecord, with snapshots: [SnapshotRecord], force: Bool) async throws {
        try await endService(of: record.id)
        let manifests = ManifestLog(
            volume: record.id, name: record.name, store: store, keys: keys, time: context.time)
        let current = try await newest(of: record, in: manifests)
        let journals = try await EarlierJournals.find(for: current, context: context)
        // A journal that holds acknowledged writes keeps the volume under its token: should the deletion be refused, or
        // end in a crash, the next opening must know that journal for the volume's own.
        let left = journals.continuing.first?.token
        let token = left ?? .random()
        // A crash in here must leave the volume to this data directory: `zerofs delete` again.
        let trace = left == nil ? try await OpeningTrace.marking(token, current, context) : OpeningTrace()
        let claimed: Manifest, previous: Owner?
        let takesOver = left == nil && openVolumes.withLock { $0.takeOver.contains(record.name) }
        do {
            // The deletion may yet be refused.
            if left == nil {
                try await LossRecord.prepare(current, takesOver: takesOver, foreign: journals.foreign, context)
            }
            (claimed, previous) = try await manifests.claim(
                token: token, host: context.host, takeOver: takesOver, continues: left != nil)
        } catch {
            // A claim of unknown outcome may be in force under this token.
            let isRefused = ![.unavailable, .cancelled, .corrupt].contains(error.storageCode)
            await trace.end(deleting: isRefused, context)
            throw error
        }
        // Used up: the next volume of this name is another.
        openVolumes.withLock { _ = $0.takeOver.remove(record.name) }
        do {
            let known = Set(snapshots.map(\.id))
            try await catalog.commit { editor in
                guard editor.state.snapshots(of: record.id).allSatisfy({ known.contains($0.id) }) else {
                    throw StorageError(
                        .busy, "a snapshot of volume '\(record.name)' was made while it was being deleted: try again")
                }
                try editor.releaseRollbacks(of: record.id, upTo: claimed.epoch)
                try editor.removeVolume(record.id, force: force)
            }
        } catch {
            // Only what was released before has nothing left to replay.
            if previous?.isReleased ?? true {
                _ = try await manifests.commit(as: claimed.epoch) { $0.release() }
                await trace.end(deleting: true, context)
            }
            throw error
        }
        do {
            let ends = try await closeEpochs(of: claimed)
            _ = try await manifests.commit(as: claimed.epoch) { manifest in
                for end in ends { try manifest.close(end.epoch, at: end.end) }
                manifest.isTombstone = true
            }
        } catch  where error.storageCode == .fenced {
            log.info("volume \(record.name) is deleted, and a gc has finished that, or will: \(error)")
        }
        await trace.end(deleting: true, context)
        await forget(journals.continuing + journals.finished, of: record)
    }

    /// The volume is deleted: what the disk does not let go of costs room, and no id is ever used again.
    private func forget(_ journals: [JournalGeneration], of record: VolumeRecord) async {
        guard let directory = context.journalDirectory else { return }
        do {
            for journal in journals { try await Journal.remove(journal, disk: context.disk) }
            for kind in [LossRecord.Kind.noticed, .takeOver] {
                try await LossRecord.remove(kind, directory: directory, volume: record.id, disk: context.disk)
            }
        } catch {
            log.warning(
                """
                volume \(record.name) is deleted, but not all of its journals in \(directory) are: nothing in them is \
                needed, `zerofs journals drop` removes those that `zerofs journals` shows: \(error)
                """)
        }
    }

    /// Closes a volume that is open here; one that has failed is only given up.
    private func endService(of id: VolumeID) async throws {
        guard let opening = openVolumes.withLock({ $0.openings[id] }) else { return }
        guard case .success(let volume) = await opening.result, volume.failure == nil else {
            return await dropFailed(id, opening)
        }
        forget(id)
        try await volume.close(within: settings.volume.commandDeadline)
    }

    private func closeEpochs(of manifest: Manifest) async throws -> [ClosedEpoch] {
        var ends: [ClosedEpoch] = []
        for epoch in manifest.openEpochs {
            // The deleter's own epoch is closed by the one that will never be.
            let end = try await EpochLog.close(
                epoch, after: manifest.firstUncovered(of: epoch), by: manifest.epoch.next, volume: manifest.volume,
                isGivenUp: true, store: store, keys: keys, time: context.time)
            ends.append(ClosedEpoch(epoch: epoch, end: end))
        }
        return ends
    }

    /// Runs `body` while nobody can attach these snapshots; throws `busy` when somebody has.
    private func withoutClients<R>(
        _ snapshots: [SnapshotRecord], of record: VolumeRecord, _ body: () async throws -> R
    ) async throws -> R {
        try openVolumes.withLock { open in
            for snapshot in snapshots { try refuseAttached(snapshot, of: record, open) }
            open.deletedSnapshots.formUnion(snapshots.map(\.id))
        }
        defer { openVolumes.withLock { $0.deletedSnapshots.subtract(snapshots.map(\.id)) } }
        return try await body()
    }
    private func refuseAttached(_ snapshot: SnapshotRecord, of record: VolumeRecord, _ open: OpenVolumes) throws {
        let count = open.attachedSnapshots[snapshot.id] ?? 0
        guard count == 0 else {
            throw StorageError(
                .busy,
                """
                snapshot '\(record.name)@\(snapshot.name)' is attached (\(count) connection\(count == 1 ? "" : "s")): \
                detach it first
                """)
        }
    }
}
