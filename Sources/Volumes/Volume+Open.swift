import BlockMap
import Journal
import Logging
import SegmentLog
import Snapshots
import StoreCore
import Synchronization
import Uploader

/// Opening for writing: claim, close what came before, replay (docs/architecture.md).
extension Volume {
    /// Claims the volume and recovers it to the last state that was promised.
    ///
    /// The order is what makes it safe. The journal's token is on disk before the claim that names it, so that a crash
    /// in between leaves either the old owner or a new one whose journal exists. Older epochs are fenced before the log
    /// is read, so that what is read is all that was ever acknowledged. A journal is replayed only if it holds the
    /// token of the manifest that this opening replaces; the same token is claimed again, so that a crash during
    /// recovery finds both generations.
    ///
    /// Throws `busy` when another holds it, unless `takeOver`.
    static func open(
        name: String, id: VolumeID, settings: VolumeSettings, context: VolumeContext, marks: HighWaterFile,
        takeOver: Bool
    ) async throws -> Volume {
        let manifests = ManifestLog(
            volume: id, name: name, store: context.store, keys: context.keys, time: context.time)
        let known = marks.marks
        guard let current = try await manifests.newest() else {
            throw StorageError.corrupt("volumes/\(id)/manifest", "volume \(name) has no manifest")
        }
        try marks.observe(.manifest(id), current.number, since: known)
        try marks.observe(.epoch(id), current.epoch.value, since: known)
        let earlier = try await EarlierJournals.find(for: current, context: context)
        // Before the claim: once the manifest has another token, nobody would know that these are finished.
        try await earlier.removeFinished(from: context.disk)
        let token = earlier.continuing.isEmpty ? OwnerToken.random() : earlier.continuing[0].token
        let trace = try await OpeningTrace.begin(token, current, settings, context)
        let volume: Volume
        let previous: Owner?
        var isRefused = true
        do {
            if earlier.continuing.isEmpty {
                try await LossRecord.prepare(current, takesOver: takeOver, foreign: earlier.foreign, context)
            }
            // Who owns the volume already takes over from nobody: a rival that came since ended what the journals hold.
            let manifest: Manifest
            (manifest, previous) = try await manifests.claim(
                token: token, host: context.host, takeOver: takeOver && earlier.continuing.isEmpty,
                continues: !earlier.continuing.isEmpty)
            isRefused = false
            try marks.observe(.manifest(id), manifest.number, since: known)
            try marks.observe(.epoch(id), manifest.epoch.value, since: known)
            volume = try await recover(
                name: name, manifest: manifest, settings: settings, context: context, manifests: manifests,
                trace: trace)
        } catch {
            // Unless the claim was refused, the manifest may name this journal's token: it stays, so that the next
            // opening knows the volume for its own; but one journal is enough for that.
            isRefused = isRefused && ![.unavailable, .corrupt, .cancelled].contains(error.storageCode)
            await trace.end(deleting: isRefused || !earlier.continuing.isEmpty, context)
            throw isRefused ? Self.explained(error, current.owner, context) : error
        }
        do {
            let loss = try await volume.replay(earlier.continuing)
            let outlived = try await earlier.outlived(context, newest: volume.epoch)
            let ousted = previous.flatMap { $0.isReleased || $0.token == token ? nil : $0 }
            try await volume.note(loss, outlived, ousted, continues: !earlier.continuing.isEmpty)
            try await earlier.settleForeign(name, context, newest: volume.epoch)
            // From here on the older journals go, and this opening's alone proves whose the volume is.
            volume.removeReplayed(earlier.continuing)
        } catch {
            await volume.abandon(deletingJournal: !earlier.continuing.isEmpty)
            throw error
        }
        return volume
    }

    /// Where this very host held the volume, and left nothing that proves it, the usual advice would mislead.
    private static func explained(_ error: any Error, _ owner: Owner?, _ context: VolumeContext) -> any Error {
        guard let busy = error as? StorageError, busy.code == .busy, let owner, !owner.isReleased,
            owner.host == context.host
        else { return error }
        return StorageError(
            .busy,
            """
            \(busy.message). That is the name of this host, but this data directory has no trace of it: either another \
            server with another data directory runs here, or the directory was lost, and with it what was not uploaded
            """)
    }

    /// Fences the epochs before this one, reads the log behind the covered position, and starts the engine there.
    private static func recover(
        name: String, manifest: Manifest, settings: VolumeSettings, context: VolumeContext, manifests: ManifestLog,
        trace: OpeningTrace
    ) async throws -> Volume {
        var ends = manifest.closedEpochs
        let state: EngineState
        do {
            for epoch in manifest.openEpochs where epoch < manifest.epoch {
                let end = try await EpochLog.close(
                    epoch, after: manifest.firstUncovered(of: epoch), by: manifest.epoch, volume: manifest.volume,
                    store: context.store,
                    keys: context.keys, time: context.time)
                ends.append(ClosedEpoch(epoch: epoch, end: end))
            }
            ends.sort { $0.epoch < $1.epoch }
            state = try await EngineState(replaying: ends, after: manifest, context: context)
        } catch  where error.storageCode == .corrupt {
            try await throwIfFenced(manifests, manifest.epoch, context)
            throw error
        }
        return Volume(
            name: name, manifest: manifest, recovered: state, settings: settings, context: context,
            manifests: manifests, trace: trace,
            uploader: Uploader(
                store: context.store, slots: context.slots, time: context.time,
                seed: UInt64(truncatingIfNeeded: manifest.volume.bits),
                confirm: { try await requireOwned(manifests, manifest.epoch) }),
            closings: ends)
    }

    /// Applies what older journals hold beyond the log, in order. They stay until that is in the bucket.
    ///
    /// - Returns: the last journal that may lack writes which were answered; nil where everything is there.
    private func replay(_ generations: [JournalGeneration]) async throws -> JournalGeneration? {
        var incomplete: JournalGeneration?
        for generation in generations {
            let reached = state.withLock { WriteSequence($0.nextWrite.value - 1) }
            // All that it took reached the log; its disk may refuse for ever what else would be done with it.
            if let last = generation.failedAfter, last <= reached { continue }
            let summary = try await Journal.replay(generation, keys: context.keys, disk: context.disk) { entry in
                try await self.replay(entry, from: generation)
            }
            report(summary, of: generation)
            let held = state.withLock { WriteSequence($0.nextWrite.value - 1) }
            if !summary.isComplete(with: held) { incomplete = generation }
        }
        return incomplete
    }
    private func report(_ summary: JournalReplaySummary, of generation: JournalGeneration) {
        guard summary.entries > 0 || summary.tornBytes > 0 else { return }
        let torn = summary.tornBytes > 0 ? ", after which \(summary.tornBytes) bytes are torn" : ""
        event(
            .journalReplayed, details: ["writes": "\(summary.entries)"],
            "read \(summary.entries) writes from the journal \(generation.path)\(torn)")
    }
    private func replay(_ entry: JournalEntry, from generation: JournalGeneration) async throws {
        let next = state.withLock { $0.nextWrite }
        guard entry.sequence >= next else { return }
        guard entry.sequence == next else {
            throw StorageError.corrupt(
                generation.path, "the journal goes on with write \(entry.sequence), the log ends before \(next)")
        }
        try await applyWaiting {
            switch entry.operation {
            case .write(let range, let bytes):
                try bytes.withUnsafeBytes { try self.apply(.write(range, $0), holding: nil, replaying: true) }
            case .zero(let range): try self.apply(.zero(range), holding: nil, replaying: true)
            case .resize(let bytes): try self.apply(.resize(bytes), holding: nil, replaying: true)
            }
        }
    }
}

/// Throws `fenced` where the volume has a newer epoch, or was deleted.
func requireOwned(_ manifests: ManifestLog, _ epoch: Epoch) async throws {
    let newest = try await manifests.newest()
    guard let newest, newest.epoch == epoch, !newest.isTombstone else {
        throw StorageError(.fenced, "volume \(manifests.volume) has another owner, or is gone: epoch \(epoch) is over")
    }
}

/// Throws `fenced` where there is word of it. Who lost the volume is told so, and not of damage: its successor's gc
/// deletes what only this one refers to. Where the store cannot say who owns it, the damage is told.
func throwIfFenced(_ manifests: ManifestLog, _ epoch: Epoch, _ context: VolumeContext) async throws {
    do { try await requireOwned(manifests, epoch) } catch  where error.storageCode != .fenced {
        context.log.debug("volume \(manifests.volume): whether another owns it is not known: \(error)")
    }
}

extension Manifest {
    /// Where in an epoch's log to begin looking: behind its last covered segment.
    func firstUncovered(of epoch: Epoch) -> SegmentSequence {
        epoch == state.covered.epoch ? state.covered.sequence : SegmentSequence(0)
    }
}

extension EngineState {
    /// The state at the end of the log: the manifest's map with the tail's extents on top.
    init(replaying ends: [ClosedEpoch], after manifest: Manifest, context: VolumeContext) async throws {
        let covered = manifest.state
        let start = LogState(
            position: covered.covered, hash: covered.coveredHash, write: covered.coveredWrite,
            time: covered.coveredTime, sizeBytes: covered.sizeBytes, ordinal: 0)
        var memtable = Memtable()
        var log = start
        var bytes = 0, segments = 0
        _ = try await EpochLog.tail(
            of: manifest.volume,
            from: LogCursor(position: covered.covered, hash: covered.coveredHash, lastWrite: covered.coveredWrite),
            through: ends.filter { $0.epoch >= covered.covered.epoch }.map { EpochEnd(epoch: $0.epoch, end: $0.end) },
            store: context.store, keys: context.keys
        ) { reference, index in
            memtable.insert(index.extents(of: reference))
            guard case .log(_, let epoch, let sequence) = reference.id else { return }
            log = LogState(
                position: LogPosition(epoch: epoch, sequence: sequence), hash: reference.contentHash,
                write: index.lastWrite, time: index.lastTime, sizeBytes: index.volumeBytes, ordinal: 0)
            bytes += Int(reference.byteCount)
            segments += 1
        }
        self.init(
            sizeBytes: log.sizeBytes, active: WriteBuffer(volumeBytes: log.sizeBytes), memtable: memtable,
            layout: covered.map, manifestNumber: manifest.number, log: log, frozenLog: start, unfrozenBytes: bytes,
            unfrozenSegments: segments, nextWrite: log.write.next,
            nextPosition: LogPosition(epoch: manifest.epoch, sequence: SegmentSequence(1)))
    }
}
