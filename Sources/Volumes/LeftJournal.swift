import BlockMap
import Journal
import SegmentLog
import Snapshots
import StoreCore

/// A journal whose owner lost the volume to another: all generations in this data directory that hold its token, oldest
/// first, because a crash during recovery makes the next opening go on under the same one.
struct LeftJournal {
    let volume: VolumeID
    let token: OwnerToken
    var generations: [JournalGeneration]

    var id: String { Self.id(of: token) }
    static func id(of token: OwnerToken) -> String { String(token.description.prefix(12)) }

    /// All of a data directory. `manifest` gives a volume's newest one; nil where it has none any more.
    static func all(
        _ context: VolumeContext, manifest: (VolumeID) async throws -> Manifest?
    ) async throws -> [LeftJournal] {
        guard let directory = context.journalDirectory else { return [] }
        var found: [LeftJournal] = []
        for volume in try await Journal.volumes(directory: directory, disk: context.disk) {
            let generations = try await Journal.generations(directory: directory, volume: volume, disk: context.disk)
            guard !generations.isEmpty else { continue }
            let newest = try await manifest(volume)
            let owner = newest.flatMap { $0.isTombstone ? nil : $0.owner?.token }
            for generation in generations where generation.token != owner && generation.kind == .journaled {
                if let index = found.firstIndex(where: { $0.token == generation.token && $0.volume == volume }) {
                    found[index].generations.append(generation)
                } else {
                    found.append(LeftJournal(volume: volume, token: generation.token, generations: [generation]))
                }
            }
        }
        return found
    }
}

/// The state that a left journal's writes go on from: everything that the log held of its owner when a newer writer's
/// fence ended it. That writer found exactly this when it opened the volume; its own writes are not in it.
struct JournalBase {
    /// Whose map, and size.
    var state: VolumeState
    /// The log behind what the map covers.
    var tail: Memtable?
    /// The last write that the state holds.
    var write: WriteSequence
    var time: Timestamp
    /// What keeps its objects in the store.
    var source: BranchSource
}

extension JournalBase {
    /// Finds it from the owner's last manifest and the log behind that, or in a snapshot that was taken when the volume
    /// was taken over. nil where gc has given up both.
    static func find(
        for journal: LeftJournal, of record: VolumeRecord, in catalog: CatalogState, _ context: VolumeContext
    ) async throws -> JournalBase? {
        let manifests = ManifestLog(
            volume: record.id, store: context.store, keys: context.keys, time: context.time)
        guard let newest = try await manifests.newest() else { return nil }
        for number in try await manifests.objects.numbers(from: record.manifestFloor) {
            guard let manifest = try await manifests.manifest(number: number) else { continue }
            guard manifest.owner?.token == journal.token else { continue }
            return try await JournalBase(manifest, newest, context)
        }
        return try await inSnapshot(journal, of: record, catalog, context)
    }

    private init(_ manifest: Manifest, _ newest: Manifest, _ context: VolumeContext) async throws {
        var ends = manifest.closedEpochs
        for epoch in manifest.openEpochs {
            let log = EpochLog(of: manifest.volume, epoch, store: context.store, keys: context.keys)
            let tail = try await log.contiguousTail(after: manifest.firstUncovered(of: epoch))
            guard tail.isClosed else {
                throw StorageError(
                    .busy, "epoch \(epoch) of the volume is not closed: attach the volume once, then try again")
            }
            ends.append(ClosedEpoch(epoch: epoch, end: tail.end))
        }
        ends.sort { $0.epoch < $1.epoch }
        let replayed = try await EngineState(replaying: ends, after: manifest, context: context)
        var state = manifest.state
        state.sizeBytes = replayed.sizeBytes
        self.init(
            state: state, tail: replayed.memtable, write: replayed.log.write, time: replayed.log.time,
            source: .volume(manifest.volume, fromManifest: manifest.number, epoch: newest.epoch))
    }

    /// The snapshot that was made when the volume was taken over from the journal's owner, before it was served: no
    /// other is known to be the state that the owner left. One of the same epoch may have been made after a rollback.
    private static func inSnapshot(
        _ journal: LeftJournal, of record: VolumeRecord, _ catalog: CatalogState, _ context: VolumeContext
    ) async throws -> JournalBase? {
        let name = Engine.takeOverPrefix + journal.id + "-"
        guard let snapshot = catalog.snapshots(of: record.id).first(where: { $0.name.hasPrefix(name) }) else {
            return nil
        }
        let state = try await PinnedVersion.load(snapshot.version, from: context.store, keys: context.keys).state
        return JournalBase(
            state: state, tail: nil, write: state.coveredWrite, time: state.coveredTime,
            source: .snapshot(snapshot.id, version: snapshot.version))
    }
}
