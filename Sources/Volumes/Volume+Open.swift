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
        let manifests = ManifestLog(volume: id, store: context.store, keys: context.keys, time: context.time)
        let known = marks.marks
        guard let current = try await manifests.newest() else {
            throw StorageError.corrupt("volumes/\(id)/manifest", "volume \(name) has no manifest")
        }
        try marks.observe(.manifest(id), current.number, since: known)
        try marks.observe(.epoch(id), current.epoch.value, since: known)
        let left = try await LeftJournals.find(for: current, context: context)
        // Before the claim: once the manifest has another token, nobody would know that these are finished.
        try await left.removeFinished(from: context.disk)
        let token = left.continuing.isEmpty ? OwnerToken.random() : left.continuing[0].token
        let journal = try await createJournal(token, current, settings, context)
        let volume: Volume
        var isRefused = true
        do {
            // Who owns the volume already takes over from nobody: a rival that came since ended what the journals hold.
            let (manifest, _) = try await manifests.claim(
                token: token, host: context.host, takeOver: takeOver && left.continuing.isEmpty,
                continues: !left.continuing.isEmpty)
            isRefused = false
            try marks.observe(.manifest(id), manifest.number, since: known)
            try marks.observe(.epoch(id), manifest.epoch.value, since: known)
            volume = try await recover(
                name: name, manifest: manifest, settings: settings, context: context, manifests: manifests,
                journal: journal)
        } catch {
            // Unless the claim was refused, the manifest may name this journal's token: it stays, so that the next
            // opening knows the volume for its own; but one journal is enough for that.
            isRefused = isRefused && ![.unavailable, .corrupt, .cancelled].contains(error.storageCode)
            try await journal?.close(deleting: isRefused || !left.continuing.isEmpty)
            throw error
        }
        do {
            try await volume.replay(left.continuing)
        } catch {
            await volume.abandon(deletingJournal: true)
            throw error
        }
        for journal in left.foreign {
            context.log.warning(
                "\(name): the journal \(journal.path) belongs to an opening that lost the volume; it is kept")
        }
        return volume
    }

    private static func createJournal(
        _ token: OwnerToken, _ current: Manifest, _ settings: VolumeSettings, _ context: VolumeContext
    ) async throws -> Journal? {
        guard settings.isJournaled, let directory = context.journalDirectory else {
            guard settings.durability == .store else {
                throw StorageError(.invalid, "durability = \"journal\" needs a data directory for the journal")
            }
            return nil
        }
        return try await Journal.create(
            directory: directory, volume: current.volume, token: token, epoch: current.epoch.next, keys: context.keys,
            limits: JournalLimits(fileBytes: settings.journalFileBytes, bytesMax: Int(settings.journalBytes)),
            disk: context.disk, time: context.time)
    }

    /// Fences the epochs before this one, reads the log behind the covered position, and starts the engine there.
    private static func recover(
        name: String, manifest: Manifest, settings: VolumeSettings, context: VolumeContext, manifests: ManifestLog,
        journal: Journal?
    ) async throws -> Volume {
        var ends = manifest.closedEpochs
        for epoch in manifest.openEpochs where epoch < manifest.epoch {
            let end = try await EpochLog.close(
                epoch, after: manifest.firstUncovered(of: epoch), by: manifest.epoch, volume: manifest.volume,
                store: context.store,
                keys: context.keys, time: context.time)
            ends.append(ClosedEpoch(epoch: epoch, end: end))
        }
        ends.sort { $0.epoch < $1.epoch }
        let state = try await EngineState(replaying: ends, after: manifest, context: context)
        return Volume(
            name: name, manifest: manifest, recovered: state, settings: settings, context: context,
            manifests: manifests, journal: journal,
            uploader: Uploader(
                store: context.store, slots: context.slots, time: context.time,
                seed: UInt64(truncatingIfNeeded: manifest.volume.bits)),
            closings: ends)
    }

    /// Applies what older journals hold beyond the log, in order. They stay until that is in the bucket.
    private func replay(_ generations: [JournalGeneration]) async throws {
        guard !generations.isEmpty else { return }
        for generation in generations {
            let summary = try await Journal.replay(generation, keys: context.keys, disk: context.disk) { entry in
                try await self.replay(entry, from: generation)
            }
            report(summary, of: generation)
        }
        let removal = Task {
            do {
                try await flushToStore()
                for generation in generations { try await Journal.remove(generation, disk: context.disk) }
            } catch {
                context.log.warning("\(name): an older journal is kept: \(error)")
            }
        }
        tasks.withLock { $0.append(removal) }
    }
    private func report(_ summary: JournalReplaySummary, of generation: JournalGeneration) {
        context.log.info("\(name): replayed \(summary.entries) writes from the journal \(generation.path)")
        guard !summary.isComplete else { return }
        let surprise = summary.isSameBoot ? " although the host kept running" : ""
        context.log.error(
            """
            \(name): the journal \(generation.path) is not whole\(surprise) (\(summary.tornBytes) bytes torn): \
            every flushed write is there, later ones that were answered may be lost
            """)
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
