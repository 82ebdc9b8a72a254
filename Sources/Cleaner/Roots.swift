import BlockMap
import SegmentLog
import Snapshots
import StoreCore

/// Everything that must stay, read after the floors were announced. Whatever of it cannot be read or authenticated
/// stops the pass before anything was deleted (R6).
struct Roots: Sendable {
    struct Volume: Sendable {
        var manifestFloor: UInt64
        var epochFloor: Epoch
        var tail: LogTail
    }
    enum Fate: Sendable {
        case live(Volume)
        /// Deleted, with its tombstone in place: `isExpired` when not even that is needed any more.
        case deleted(isExpired: Bool, newestManifest: UInt64)
        /// Its deletion is under way: all of it stays for now.
        case untouchable
        /// The catalog never named it, and never will.
        case orphan
    }
    var state: CatalogState
    var volumes: [VolumeID: Fate] = [:]
    var runs = RunSet()
    var pinned: Set<VersionReference> = []
    /// Runs that a manifest or a version that is given up named, in the folder of the volume whose it was. They were
    /// once part of its history; where no root names them they never will be again, whatever their epoch.
    var onceNamed: Set<Digest> = []
    var deadVersions: Set<VersionReference> = []

    /// False for volumes that came into being after the first LIST.
    func fate(of volume: VolumeID) -> Fate { volumes[volume] ?? .untouchable }
}

/// Reads the roots.
struct RootReader {
    let context: GCContext
    let listing: StoreListing
    /// As announced; of a dry run, as they would be.
    let floors: [VolumeID: VolumeFloor]
    let state: CatalogState

    func read() async throws -> Roots {
        var roots = Roots(state: state)
        try await readVolumes(into: &roots)
        try await readSnapshots(into: &roots)
        try await readDeleted(into: &roots)
        for id in listing.volumes where state.volume(id) == nil && state.deletedVolume(id) == nil {
            roots.volumes[id] = .orphan
        }
        try await readGivenUp(into: &roots)
        return roots
    }

    private func readVolumes(into roots: inout Roots) async throws {
        for part in state.volumes.chunked(256) {
            context.progress("read volumes", UInt64(roots.volumes.count), UInt64(state.volumeCount))
            let read = try await context.concurrently(part) { try await keptManifests(of: $0) }
            for (volume, kept) in zip(part, read) {
                let floor = floors[volume.id]
                roots.volumes[volume.id] = .live(
                    Roots.Volume(
                        manifestFloor: max(volume.manifestFloor, floor?.manifest ?? 0),
                        epochFloor: max(volume.epochFloor, floor?.epoch ?? Epoch(0)), tail: LogTail(kept)))
                for manifest in kept { roots.runs.insert(manifest.state.map) }
            }
        }
    }

    /// The manifests from the floor on, the newest first. One that is missing was deleted by a gc that announced higher
    /// floors meanwhile: what was pinned between its floors and these is not known here.
    private func keptManifests(of volume: VolumeRecord) async throws -> [Manifest] {
        let floor = max(volume.manifestFloor, floors[volume.id]?.manifest ?? 0)
        let newest = try await context.manifests(of: volume.id).newestNumber()
        guard let newest, newest >= floor else {
            throw try await missing("a manifest of volume '\(volume.name)' from \(floor) on") {
                $0.volume(volume.id) != nil
            }
        }
        var kept: [Manifest] = []
        // Not as a LIST shows them: it may miss one that came while it ran, and show the one after it.
        for number in (floor...newest).reversed() {
            guard let manifest = try await context.manifest(number, of: volume.id) else {
                throw try await missing("manifest \(number) of volume '\(volume.name)'") {
                    $0.volume(volume.id) != nil
                }
            }
            kept.append(manifest)
        }
        return kept
    }

    private func readSnapshots(into roots: inout Roots) async throws {
        let versions = Array(Set(state.snapshots.map(\.version)))
        for part in versions.chunked(256) {
            context.progress("read snapshots", UInt64(roots.pinned.count), UInt64(versions.count))
            let read = try await context.concurrently(part) { reference in
                do {
                    return try await PinnedVersion.load(reference, from: context.store, keys: context.keys)
                } catch  where error.storageCode == .notFound {
                    throw try await missing("the version \(reference.key) of a snapshot") { newest in
                        newest.snapshots.contains { $0.version == reference }
                    }
                }
            }
            for (reference, version) in zip(part, read) {
                roots.pinned.insert(reference)
                roots.runs.insert(version.state.map)
            }
        }
    }

    /// A root that is not there: either another gc is ahead, or it is not named any more, or it is lost.
    private func missing(_ what: String, isNamed: (CatalogState) -> Bool) async throws -> StorageError {
        let lost = StorageError(.corrupt, "\(what) is missing: nothing is deleted; run `zerofs verify`")
        let newest = try await context.catalog.newest()
        return newest.birthFloor > state.birthFloor || !isNamed(newest) ? GCContext.rival(lost) : lost
    }
}

// MARK: What is given up
extension RootReader {
    /// A volume whose tombstone is missing may still have a writer that is not fenced, and a hole in its log would let
    /// it acknowledge: then nothing of it goes. After a while its deletion is finished here.
    private func readDeleted(into roots: inout Roots) async throws {
        let now = context.time.now()
        let deleted = state.deletedVolumes
        let fates = try await context.concurrently(deleted) { volume -> Roots.Fate in
            guard let number = try await context.manifests(of: volume.id).newestNumber() else { return .orphan }
            guard let manifest = try await context.manifest(number, of: volume.id) else { return .untouchable }
            if manifest.isTombstone {
                let isExpired = volume.deleted.adding(context.options.tombstoneRetention) <= now
                return .deleted(isExpired: isExpired, newestManifest: number)
            }
            guard volume.deleted.adding(context.options.deletionGrace) <= now, !context.dryRun else {
                return .untouchable
            }
            let tombstone = try await Deletion(context: context).finish(volume.id)
            return .deleted(isExpired: false, newestManifest: tombstone.number)
        }
        for (volume, fate) in zip(deleted, fates) { roots.volumes[volume.id] = fate }
    }

    /// Reads manifests below the floor and versions that no snapshot names, for the runs that go with them.
    private func readGivenUp(into roots: inout Roots) async throws {
        var manifests: [(VolumeID, UInt64)] = []
        for (id, numbers) in listing.manifests {
            switch roots.fate(of: id) {
            case .live(let volume): manifests += numbers.prefix { $0 < volume.manifestFloor }.map { (id, $0) }
            case .deleted: manifests += numbers.map { (id, $0) }
            case .untouchable, .orphan: continue
            }
        }
        let reachable = roots.runs.hashes
        var foreign: Set<RunReference> = []
        for part in manifests.chunked(256) {
            let named = try await context.concurrently(part) { id, number in
                (id, try await readable { try await context.manifest(number, of: id)?.state.map.allRuns } ?? [])
            }
            for (id, runs) in named {
                roots.onceNamed.formUnion(runs.filter { $0.volume == id }.map(\.contentHash))
                foreign.formUnion(runs.filter { $0.volume != id && !reachable.contains($0.contentHash) })
            }
        }
        try await readDeadVersions(into: &roots)
        try await readForeign(foreign, into: &roots)
    }

    /// Runs that a branch took over and that neither it nor its ancestor names any more. A run that was new when the
    /// branch was made may still be on its way into the ancestor's manifest: it names segments that are not yet covered
    /// there.
    private func readForeign(_ foreign: Set<RunReference>, into roots: inout Roots) async throws {
        let known = roots
        let candidates = foreign.filter { run in
            guard case .live(let volume) = known.fate(of: run.volume) else { return false }
            return run.epoch >= volume.epochFloor && !known.onceNamed.contains(run.contentHash)
        }
        let settled = try await context.concurrently(Array(candidates)) { run -> Digest? in
            guard case .live(let volume) = known.fate(of: run.volume) else { return nil }
            let isCovered = try await readable { () -> Bool? in
                var positions: [LogPosition] = []
                try await context.maps.forEachSegment(of: run) { usage in
                    guard case .log(run.volume, let epoch, let sequence) = usage.segment.id else { return }
                    positions.append(LogPosition(epoch: epoch, sequence: sequence))
                }
                return run.segmentCount > 0 && positions.allSatisfy { $0 <= volume.tail.covered }
            }
            return isCovered == true ? run.contentHash : nil
        }
        roots.onceNamed.formUnion(settled.compactMap(\.self))
    }

    /// A version that no snapshot names was given up, or its snapshot is not entered yet. It was given up when it
    /// covers less than the floor's manifest: who is above the floor covers as much.
    private func readDeadVersions(into roots: inout Roots) async throws {
        let candidates = listing.versions.filter { version in
            guard case .live(let volume) = roots.fate(of: version.volume) else { return false }
            return !roots.pinned.contains(version) && version.epoch >= volume.epochFloor
        }
        for part in candidates.chunked(256) {
            let read = try await context.concurrently(part) { reference in
                try await readable { try await PinnedVersion.load(reference, from: context.store, keys: context.keys) }
            }
            for (reference, version) in zip(part, read) {
                guard let version, case .live(let volume) = roots.fate(of: reference.volume),
                    version.state.covered < volume.tail.covered
                else { continue }
                roots.deadVersions.insert(reference)
                let own = version.state.map.allRuns.filter { $0.volume == reference.volume }
                roots.onceNamed.formUnion(own.map(\.contentHash))
            }
        }
    }

    /// nil for what is gone, damaged or under a retired key: these are no roots, and all that is lost is the knowledge
    /// of what they named.
    private func readable<R>(_ body: () async throws -> R?) async throws -> R? {
        do { return try await body() } catch  where [.notFound, .corrupt, .denied].contains(error.storageCode) {
            return nil
        }
    }
}

extension Array {
    func chunked(_ count: Int) -> [ArraySlice<Element>] {
        stride(from: 0, to: self.count, by: count).map { self[$0..<Swift.min($0 + count, self.count)] }
    }
}
extension GCContext {
    func concurrently<Item: Sendable, Value: Sendable>(
        _ items: ArraySlice<Item>, _ body: @escaping @Sendable (Item) async throws -> Value
    ) async throws -> [Value] {
        try await concurrently(Array(items), body)
    }
}
