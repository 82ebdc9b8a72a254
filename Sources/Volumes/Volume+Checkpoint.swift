import BlockMap
import Cleaner
import Logging
import ObjectStorage
import SegmentLog
import Snapshots
import StoreCore
import Synchronization
import Uploader

/// From the memtable to a manifest.
extension Volume {
    /// Switches the memtable behind the last encoded segment. Called with the lock held, where that is due or asked
    /// for.
    func freeze(_ state: inout EngineState) {
        guard state.log.position != state.frozenLog.position else { return }
        let frozen = FrozenMemtable(
            memtable: state.memtable, start: state.frozenLog.position, log: state.log,
            build: { [self] memtable in try await buildRuns(memtable) },
            upload: { [self] run in try await upload(run) })
        state.frozen.append(frozen)
        state.frozenLog = state.log
        state.memtable = Memtable()
        state.unfrozenBytes = 0
        state.unfrozenSegments = 0
        frozenMemtables.yield(frozen)
    }

    private func buildRuns(_ memtable: Memtable) async throws -> [SealedRun] {
        try await context.workers.run { [id, epoch, context] in
            try RunBuilder.build(memtable, volume: id, epoch: epoch, keys: context.keys)
        }
    }
    /// A run's name is the hash of its bytes: who finds it taken finds itself.
    private func upload(_ run: SealedRun) async throws {
        try await persisting {
            _ = try await self.context.store.create(run.reference.key, run.bytes, sha256: run.objectHash)
        }
    }

    /// The checkpoint task's step: memtables become part of the manifest in the order of their freezing.
    func checkpoint(_ frozen: FrozenMemtable) async {
        do {
            try await uploader.waitUntilDurable(frozen.log.ordinal, deadline: nil)
            try await frozen.uploaded.value
            let runs = try await frozen.built.value.map(\.reference)
            try await commit(dropping: 1) { manifest in
                for closing in self.closings { try manifest.close(closing.epoch, at: closing.end) }
                guard manifest.state.covered < frozen.log.position else { return }
                // Where the one before was not committed this one would cover what the map lacks (R2).
                guard manifest.state.covered >= frozen.start else {
                    throw StorageError(.cancelled, "the checkpoint up to \(frozen.start) was not committed")
                }
                manifest.state = VolumeState(
                    sizeBytes: frozen.log.sizeBytes, covered: frozen.log.position, coveredHash: frozen.log.hash,
                    coveredWrite: frozen.log.write, coveredTime: frozen.log.time,
                    map: manifest.state.map.adding(level0: runs))
            }
            compactions.yield()
        } catch {
            fail(StorageError(error.storageCode, "volume \(name) cannot checkpoint", cause: error))
        }
    }

    /// Commits a change of the manifest and takes over the map that it names. `change` may run more than once.
    func commit(dropping frozenCount: Int, _ change: @escaping @Sendable (inout Manifest) throws -> Void) async throws {
        try await manifestLock.withLock {
            let manifest = try await persisting { try await self.manifests.commit(as: self.epoch, change) }
            state.withLock { state in
                state.layout = manifest.state.map
                state.manifestNumber = manifest.number
                state.frozen.removeFirst(frozenCount)
                return state.moved()
            }.resume()
        }
    }

    /// Repeats `body` while the store does not answer, or refuses for a reason that an operator can mend, until it does
    /// or the volume has failed.
    func persisting<R: Sendable>(_ body: @Sendable () async throws -> R) async throws -> R {
        try await repeating(until: nil, on: [.unavailable, .denied, .full], context.time, body) { error in
            if let failure { throw failure }
            uploadFailed(error)
        } expired: {
            deadlineError($0, cause: $1)
        }
    }

    /// The compaction task's step, after a checkpoint, so that no checkpoint waits for it.
    func compact() async {
        do { try await compactWhereDue() } catch {
            fail(StorageError(error.storageCode, "volume \(name) cannot compact its map", cause: error))
        }
    }

    /// One step of compaction, more when level 0 has grown long; none when the volume is to end.
    private func compactWhereDue() async throws {
        repeat {
            let (layout, isRewriting, isEnding) = state.withLock { state in
                (state.layout, state.mustRewriteMap, state.isClosing || state.failure != nil)
            }
            let plan =
                isRewriting
                ? CompactionPlan.full(for: layout, policy: settings.compaction, evenIfMerged: true)
                : CompactionPlan.next(for: layout, policy: settings.compaction)
            guard !isEnding, let plan else { return }
            try await compact(plan, copying: isRewriting)
        } while state.withLock { $0.mustRewriteMap || $0.layout.levels.first?.count ?? 0 > 8 }
    }
    /// - Parameter copying: no run may move by its name alone.
    func compact(_ plan: CompactionPlan, copying: Bool = false) async throws {
        let edit = try await persisting {
            try await Compactor.run(
                plan, reader: self.context.maps, volume: self.id, epoch: self.epoch, store: self.context.store,
                resolve: try await self.context.relocations.resolver() ?? (copying ? { $0 } : nil))
        }
        try await commit(dropping: 0) { manifest in
            // After an answer that got lost the edit may be in force already.
            let runs = Set(manifest.state.map.allRuns)
            guard edit.removed.contains(where: runs.contains) else { return }
            manifest.state.map = try manifest.state.map.applying(edit)
        }
    }
}
