public import BlockMap
public import Codec
public import ObjectStorage
import SegmentLog
public import Snapshots
public import StoreCore

/// Proves that every volume and snapshot can be read: that each reference resolves, from the catalog down, and that
/// what it leads to is what was written.
///
/// Not deep: every manifest, version and catalog number opens, every run has its hash, every tag in it is right and
/// index, extents and table agree; every segment is there with its size, or was repacked and all that is needed has a
/// place. Deep: every segment is read and every record of it opened. Claims nothing, writes nothing, and runs beside
/// everything else.
public struct StoreVerifier: Sendable {
    private let context: GCContext

    public init(store: any ObjectStore, keys: KeyRing, catalog: CatalogLog, maps: MapReader, time: any TimeSource) {
        context = GCContext(
            store: store, keys: keys, catalog: catalog, maps: maps, time: time, options: GCOptions(), dryRun: true,
            progress: { _, _, _ in })
    }

    /// Verifies one volume or snapshot, or with nil the whole store. Damage is reported, not thrown.
    ///
    /// Throws `notFound` for a name that the catalog does not have, and what keeps it from working: `unavailable`,
    /// `cancelled`.
    public func verify(
        _ reference: VolumeReference? = nil, deep: Bool = false, progress: @escaping CleanerProgress = { _, _, _ in }
    ) async throws -> VerifyReport {
        let began = context.time.monotonicNanoseconds()
        var context = context
        context.progress = progress
        var tries = 0
        while true {
            var verification = Verification(context: context, deep: deep)
            let before = try await verification.run(reference)
            tries += 1
            // What moved on while it was verified may have left garbage behind, and gc may have taken that.
            if verification.damage.isMissingSomething, tries < 4,
                try await verification.hasMoved(since: before, reference)
            {
                continue
            }
            var report = verification.report
            report.durationSeconds = Double(context.time.monotonicNanoseconds() - began) / 1e9
            return report
        }
    }
}

/// A version of a volume: where its map comes from.
struct VerifiedRoot: Sendable {
    /// `pg-prod` or `pg-prod@monday`.
    var name: String
    var layout: RunSet.Layout
}

/// One go at it.
struct Verification {
    let context: GCContext
    let deep: Bool
    var damage = DamageLog()
    var objects: UInt64 = 0
    var bytes: UInt64 = 0
    var runs = RunSet()
    var roots: [VerifiedRoot] = []

    init(context: GCContext, deep: Bool) {
        self.context = context
        self.deep = deep
    }

    var report: VerifyReport {
        var report = VerifyReport(deep: deep)
        report.objectsChecked = objects
        report.bytesChecked = bytes
        report.damaged = damage.damaged
        report.moreDamaged = damage.more
        return report
    }

    /// - Returns: how far everything was when it began, to tell whether it moved.
    mutating func run(_ reference: VolumeReference?) async throws -> [String: String] {
        guard let state = try await readCatalog() else { return [:] }
        let scope = try VerifyScope(reference, in: state)
        let before = try await marks(scope)
        for volume in scope.volumes { try await readVolume(volume, state) }
        try await readSnapshots(scope.snapshots, state)
        let sound = try await checkRuns()
        try await checkSegments(named: sound)
        return before
    }

    /// Whether gc may have deleted rightly what was looked for. A catalog that cannot be read tells of nothing; that is
    /// in the report.
    func hasMoved(since before: [String: String], _ reference: VolumeReference?) async throws -> Bool {
        do {
            let state = try await context.catalog.newest()
            return try await marks(VerifyScope(reference, in: state)) != before
        } catch  where [.corrupt, .unsupported, .invalid].contains(error.storageCode) {
            return false
        }
    }
    private func marks(_ scope: VerifyScope) async throws -> [String: String] {
        let numbers = try await context.concurrently(scope.volumes) { volume in
            let newest = try await context.manifests(of: volume.id).newestNumber()
            return ("\(volume.id)", "\(newest ?? 0)")
        }
        // Under rewritten keys a snapshot rests on another version.
        let versions = scope.snapshots.map { ("\($0.id)", "\($0.version.hash)") }
        return Dictionary(numbers + versions + [("floors", "\(scope.birthFloor)")]) { first, _ in first }
    }

    /// The catalog and all its numbers from the floor on; nil where it cannot be read, and nothing else can be found.
    private mutating func readCatalog() async throws -> CatalogState? {
        var newest: CatalogState?
        do {
            let state = try await context.catalog.newest()
            newest = state
            let kept = try await context.catalog.keptPages(from: state.catalogFloor)
            objects += kept.upTo - min(state.catalogFloor, kept.upTo) + UInt64(kept.pages.count)
            return state
        } catch  where error.isDamage && error.storageCode != .denied {
            // gc may have taken a number since it was listed.
            damage.note("catalog", "\(error)", missing: error.isOfSomethingMissing)
            // Not the last that was seen: a gc that shares this catalog may have announced floors in it since.
            return newest ?? context.catalog.lastSeen
        }
    }

    mutating func count(_ byteCount: Int) {
        objects += 1
        bytes += UInt64(byteCount)
    }
}

/// What is asked for.
struct VerifyScope: Sendable {
    var volumes: [VolumeRecord]
    var snapshots: [SnapshotRecord]
    /// Rises with each gc, before it deletes anything.
    var birthFloor: UInt64

    /// Throws `notFound` for a name that the catalog does not have.
    init(_ reference: VolumeReference?, in state: CatalogState) throws(StorageError) {
        birthFloor = state.birthFloor
        guard let reference else {
            (volumes, snapshots) = (state.volumes, state.snapshots)
            return
        }
        let (volume, snapshot) = try state.resolve(reference)
        volumes = snapshot == nil ? [volume] : []
        snapshots = snapshot.map { [$0] } ?? state.snapshots(of: volume.id)
    }
}
