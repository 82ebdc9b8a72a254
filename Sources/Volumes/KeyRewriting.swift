import BlockMap
import Cleaner
import Codec
import Journal
import Logging
import ObjectStorage
import Snapshots
import StoreCore
import Synchronization

/// Moves all of a store to the current data key, kind by kind. Every step leaves a store that is whole, and what is
/// done already is not done again.
///
/// 1. Volumes are opened and checkpointed: from here on their manifests, segments and runs are under the new key.
/// 2. The cleaner empties segments under old keys into packed ones, and says where their records went.
/// 3. Maps are merged anew, and name the new places; snapshots get versions of their own with such maps.
/// 4. The catalog gets new pages, and as many numbers as gc keeps.
/// 5. gc takes what is no longer named.
struct KeyRewriting {
    let engine: Engine
    let old: Set<DataKeyID>
    let progress: ProgressHandler
    private var context: VolumeContext { engine.context }

    init(engine: Engine, old: Set<DataKeyID>, progress: @escaping ProgressHandler) {
        self.engine = engine
        self.old = old
        self.progress = progress
    }

    func run(_ report: inout RewriteReport) async throws {
        let volumes = try await openVolumes()
        for volume in volumes.values { try await volume.checkpointNow() }
        try await rewriteSegments(&report)
        for volume in volumes.values
        where volume.state.withLock({ state in
            state.layout.allRuns.contains { old.contains($0.header.keyID) }
        }) {
            say("rewrite maps", report.mapsRewritten)
            try await volume.rewriteMap(leaving: old)
            report.mapsRewritten += 1
        }
        try await rewriteSnapshots(volumes, &report)
        for done in 0...CatalogEditor.catalogNumbersKept {
            say("renew the catalog", done)
            try await engine.catalog.commit { $0.renewPages() }
        }
        // What the first takes away keeps other things no longer.
        for _ in 0..<2 { _ = try await collect(engine.settings.gc) }
    }

    private func say(_ phase: String, _ done: UInt64, _ total: UInt64? = nil) {
        progress(ProgressReport(phase: phase, done: done, total: total))
    }

    // MARK: Volumes

    /// All that can be opened here: not those that another host holds.
    private func openVolumes() async throws -> [VolumeID: Volume] {
        var volumes: [VolumeID: Volume] = [:]
        for record in try await engine.catalog.newest().volumes {
            say("open volumes", UInt64(volumes.count))
            do {
                volumes[record.id] = try await engine.open(record)
            } catch  where [.busy, .notFound].contains(error.storageCode) {
                engine.log.info("keys: volume \(record.name) is not rewritten: \(error)")
            }
        }
        return volumes
    }

    // MARK: Segments

    /// Pass by pass, until one moves nothing any more. What clients overwrite meanwhile is left to gc: on a busy store
    /// there is always more of it, while segments under old keys only become fewer.
    private func rewriteSegments(_ report: inout RewriteReport) async throws {
        var options = engine.settings.gc
        options.rewrittenKeys = old
        options.candidatesMax = 0
        while true {
            let pass = try await collect(options)
            report.segmentsRewritten += pass.segmentsRepacked
            report.bytesRewritten += pass.bytesRepacked
            guard pass.segmentsRepacked > 0 else { return }
        }
    }
    private func collect(_ options: GCOptions) async throws -> GCReport {
        try await engine.collectGarbage(options, dryRun: false, progress: progress)
    }

    // MARK: Snapshots

    private func rewriteSnapshots(_ volumes: [VolumeID: Volume], _ report: inout RewriteReport) async throws {
        for snapshot in try await engine.catalog.newest().snapshots {
            guard let volume = volumes[snapshot.volume] else { continue }
            say("rewrite snapshots", report.mapsRewritten)
            do {
                if try await engine.retryingBelowFloor({ try await rewrite(snapshot.id, in: volume) }) {
                    report.mapsRewritten += 1
                }
            } catch  where [.notFound, .busy].contains(error.storageCode) {
                // Deleted meanwhile, or another owner rolls the volume back to it.
                engine.log.info("keys: snapshot '\(snapshot.name)' is not rewritten: \(error)")
            }
        }
    }

    /// Gives a snapshot a version and a map of its own under the current key. False where it has that already.
    private func rewrite(_ id: SnapshotID, in volume: Volume) async throws -> Bool {
        let known = try await engine.catalog.newest()
        guard let snapshot = known.snapshot(id) else { return false }
        guard let home = known.volume(volume.id), volume.epoch >= home.epochFloor else {
            engine.log.info("keys: snapshot '\(snapshot.name)' is not rewritten: its volume is gone, or another's")
            return false
        }
        let before = keyID
        let header = try await context.store.get(snapshot.version.key, range: 0..<UInt64(ObjectHeader.byteCount))
        let version = try await PinnedVersion.load(snapshot.version, from: context.store, keys: context.keys)
        let isOld =
            ObjectHeader.peek(header).map { old.contains($0.keyID) } ?? false
            || version.state.map.allRuns.contains { old.contains($0.header.keyID) }
        guard isOld else { return false }
        var state = version.state
        state.map = try await copy(state.map, in: volume)
        let copy = PinnedVersion(volume: volume.id, epoch: volume.epoch, state: state, created: version.created)
        let (reference, bytes) = try copy.seal(with: context.keys)
        _ = try await context.store.create(reference.key, bytes, sha256: reference.hash)
        try await engine.catalog.commit { [keys = context.keys] editor in
            try editor.requireKey(before, of: keys)
            // Earlier openings are fenced: a rollback of theirs that entered its hold late goes no further.
            try editor.releaseRollbacks(of: volume.id, upTo: Epoch(volume.epoch.value - 1))
            try editor.replaceVersion(of: id, snapshot.version, with: reference, seen: known.birthFloor)
        }
        return true
    }
    private var keyID: DataKeyID { context.keys.currentKeyID }

    private func copy(_ map: MapLayout, in volume: Volume) async throws -> MapLayout {
        guard let plan = CompactionPlan.full(for: map, evenIfMerged: true) else { return map }
        let edit = try await Compactor.run(
            plan, reader: context.maps, volume: volume.id, epoch: volume.epoch, store: context.store,
            resolve: try await context.relocations.resolver() ?? { $0 })
        return try map.applying(edit)
    }

    // MARK: What keeps a key

    /// Why something may still come into the store under an old key, or lie where it cannot be listed. A writer that
    /// opened its volume before the rotation may have segments, runs and journal entries on their way; one that opened
    /// it after has none.
    func reasonsToKeep() async throws -> [String] {
        var reasons: [String] = []
        let openedUnder = engine.openVolumes.withLock { $0.openedUnder }
        for record in try await engine.catalog.newest().volumes {
            let manifest = try await engine.manifest(of: record)
            let isOpenHere = await engine.openVolume(record.id) != nil
            if isOpenHere, openedUnder[record.id].map({ $0 < keyID }) ?? true {
                reasons.append("volume '\(record.name)' was opened before the rotation: restart the server")
            } else if !isOpenHere, let owner = manifest.owner, !owner.isReleased {
                reasons.append("volume '\(record.name)' is open on \(owner.host): stop the server there")
            }
            guard let directory = context.journalDirectory else { continue }
            let journals = try await Journal.generations(directory: directory, volume: record.id, disk: context.disk)
            if journals.count > (isOpenHere ? 1 : 0) {
                reasons.append(
                    "volume '\(record.name)' has journals of earlier openings in \(directory): "
                        + "restart the server, and bring back or remove what it reports")
            }
        }
        return reasons
    }

    /// What would not open any more. Headers, by which objects are counted, prove nothing: a flipped bit makes an
    /// object look as if it were under another key. So the store is read once as it will be without the old keys, from
    /// the catalog down, as `verify` and gc read it; what is damaged keeps its key, for the day that a copy comes back.
    func problemsWithoutOldKeys() async throws -> [String] {
        let keys = context.keys.without(old)
        let catalog = CatalogLog(store: context.store, keys: keys, time: context.time)
        let maps = MapReader(store: context.store, keys: keys, pages: PageCache(bytes: engine.settings.mapCacheBytes))
        var options = engine.settings.gc
        options.repacks = false
        do {
            let verifier = StoreVerifier(
                store: context.store, keys: keys, catalog: catalog, maps: maps, time: context.time)
            let report = try await verifier.verify { say($0, $1, $2) }
            let damaged = report.damaged.prefix(Self.problemsMax).map { "\($0.object) \($0.problem)" }
            guard damaged.isEmpty else { return damaged.map(Self.kept) }
            let collector = GarbageCollector(
                store: context.store, keys: keys, catalog: catalog, maps: maps, time: context.time, options: options)
            _ = try await collector.collect(dryRun: true) { say($0, $1, $2) }
            return []
        } catch  where [.denied, .corrupt].contains(error.storageCode) {
            return [Self.kept("\(error)")]
        }
    }
    private static let problemsMax = 10
    private static func kept(_ problem: String) -> String {
        "the store still needs the older keys: without them \(problem) (`zerofs verify --deep` says if it is damaged)"
    }
}
