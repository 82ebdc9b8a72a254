import Logging
import Snapshots
public import StoreCore
import Synchronization

extension Engine {
    /// Takes a volume back to a snapshot. What it replaces is kept as a snapshot of its own.
    ///
    /// An epoch change: the volume is closed with the snapshot's map and size in its last manifest, while covered
    /// position and write sequence go forward, so nothing of the old log can come back.
    public func rollback(_ reference: VolumeReference, force: Bool) async throws -> RollbackReport {
        guard reference.snapshot != nil else {
            throw StorageError(.invalid, "roll back to what? Name a snapshot: \(reference)@SNAPSHOT")
        }
        let (record, snapshot) = try await catalog.newest().resolve(reference)
        guard let snapshot else { preconditionFailure("a snapshot was named") }
        guard force else {
            throw StorageError(
                .invalid,
                "rolling back '\(record.name)' replaces its contents: use --force (they are kept as a snapshot)")
        }
        let target = try await PinnedVersion.load(snapshot.version, from: store, keys: keys)
        let volume = try await open(record)
        let safety = try await reserving(record) {
            try await refuseAttached(record)
            return try await replaceContents(of: record, volume, with: target, named: snapshot)
        }
        return RollbackReport(
            name: record.name, target: "\(record.name)@\(snapshot.name)",
            safetySnapshot: "\(record.name)@\(safety.name)")
    }

    private func replaceContents(
        of record: VolumeRecord, _ volume: Volume, with target: PinnedVersion, named snapshot: SnapshotRecord
    ) async throws -> SnapshotRecord {
        volume.refuseWrites()
        defer { forget(record.id) }
        let hold = RollbackHold(epoch: volume.epoch)
        let safety: SnapshotRecord
        do {
            safety = try await pin(record, as: timedName("before-rollback-", of: record.id)) { editor in
                if let known = editor.state.snapshot(snapshot.id), known.version != snapshot.version {
                    throw StorageError(.busy, "snapshot '\(snapshot.name)' is being copied under other keys: try again")
                }
                try editor.releaseRollbacks(of: record.id, upTo: volume.epoch)
                try editor.hold(.snapshot(snapshot.id), tag: hold.tag)
            }
        } catch {
            // It was refused: the volume closes as it is, in order, so that nobody takes it for one that crashed.
            do {
                try await volume.close(within: settings.volume.commandDeadline)
                try noteManifest(of: volume)
                await saveMarks()
            } catch {
                log.warning("volume \(record.name): it did not close in order after a rollback that failed: \(error)")
            }
            throw error
        }
        do {
            try await volume.close { manifest in
                manifest.state.map = target.state.map
                manifest.state.sizeBytes = target.state.sizeBytes
            }
            try noteManifest(of: volume)
            await saveMarks()
            try await catalog.commit { try $0.release(.snapshot(snapshot.id), tag: hold.tag) }
            return safety
        } catch {
            await volume.abandon()
            throw error
        }
    }

    /// Who has just opened a volume shuts out all that held it before: what their rollbacks still hold is let go.
    func releaseBrokenRollbacks(of record: VolumeRecord, _ volume: Volume) async {
        guard catalog.lastSeen?.hasRollbackHolds(of: record.id, upTo: volume.epoch) ?? false else { return }
        do {
            try await catalog.commit { try $0.releaseRollbacks(of: record.id, upTo: volume.epoch) }
        } catch {
            log.warning("volume \(record.name): the next opening releases what a broken rollback holds: \(error)")
        }
    }

    /// The last epoch whose rollbacks are over, by the volume's manifest; nil where none holds the snapshot.
    func epochWithoutRollback(of snapshot: SnapshotRecord, _ record: VolumeRecord) async throws -> Epoch? {
        guard snapshot.isHeldByRollback else { return nil }
        let newest = try await manifest(of: record)
        // Who released the volume has committed its last manifest; earlier epochs are fenced.
        return newest.owner?.isReleased ?? true ? newest.epoch : Epoch(newest.epoch.value - 1)
    }

    /// Throws `busy` when clients are connected to the volume.
    func refuseAttached(_ record: VolumeRecord) async throws {
        var count = 0
        // One that has failed may still have clients, who are told so.
        if let opening = openVolumes.withLock({ $0.openings[record.id] }),
            case .success(let volume) = await opening.result
        {
            count = volume.attachedCount
        }
        guard count == 0 else {
            throw StorageError(
                .busy,
                "volume '\(record.name)' is attached (\(count) connection\(count == 1 ? "" : "s")): detach it first")
        }
    }
    func forget(_ id: VolumeID) { openVolumes.withLock { $0.openings[id] = nil } }
}
