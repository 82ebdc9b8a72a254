public import BlockMap
public import Codec
public import ObjectStorage
public import Snapshots
public import StoreCore

/// Gives back what nothing refers to any more, and empties segments that are mostly dead, so that space comes back
/// while snapshots and branches are held.
///
/// A pass: LIST everything; find each volume's floor; commit the floors to the catalog; read generations, then
/// relocation records, then the catalog once more and all roots, and prove; repack; LIST again and delete. What the
/// proof rests on:
///
/// - Nothing new can rest on what lies below a floor once the catalog holds it, nor can a volume be entered whose
///   making began before. So what is unreachable from the roots as read after that stays unreachable: a pass that was
///   paused, or runs beside another, deletes only what is dead for good.
/// - Whatever came into the store after the first LIST is either above every floor, in an epoch or a generation that is
///   current, or part of a volume that the first LIST did not show: such things are never judged dead for lack of a
///   name.
/// - A root that is missing or damaged ends the pass before the first deletion (R6).
public struct GarbageCollector: Sendable {
    private let store: any ObjectStore
    private let keys: KeyRing
    private let catalog: CatalogLog
    private let maps: MapReader
    private let time: any TimeSource
    private let options: GCOptions

    public init(
        store: any ObjectStore, keys: KeyRing, catalog: CatalogLog, maps: MapReader, time: any TimeSource,
        options: GCOptions = GCOptions()
    ) {
        self.store = store
        self.keys = keys
        self.catalog = catalog
        self.maps = maps
        self.time = time
        self.options = options
    }

    /// One pass. May be stopped at any point and started again; two at once do no harm, one of them may end as `busy`.
    ///
    /// Throws `corrupt` or `denied` naming the root that could not be read: then nothing was deleted. A dry run writes
    /// and deletes nothing.
    public func collect(
        dryRun: Bool = false, progress: @escaping CleanerProgress = { _, _, _ in }
    ) async throws -> GCReport {
        let began = time.monotonicNanoseconds()
        let context = GCContext(
            store: store, keys: keys, catalog: catalog, maps: maps, time: time, options: options, dryRun: dryRun,
            progress: progress)
        let listing = try await StoreListing.read(context)
        let (state, floors) = try await announceFloors(context, listing)
        let (report, forgotten) = try await Self.blamingRivals(context, since: state) {
            let proof = try await prove(context, listing, state, floors)
            var report = GCReport(dryRun: dryRun)
            report.bytesBefore = listing.bytes
            report.segmentsRepacked = UInt64(proof.repackedCount)
            report.bytesRepacked = proof.repackedBytes
            report.bytesPacked = proof.packedBytes
            report.segmentsUnreadable = UInt64(proof.unreadable)
            var sweep = Sweep(context: context, proof: proof, report: report)
            return try await sweep.run()
        }
        if !dryRun, !forgotten.isEmpty {
            try await catalog.commit { editor in for volume in forgotten { editor.forgetVolume(volume) } }
        }
        var finished = report
        finished.bytesAfter = report.bytesKept + (dryRun ? report.bytesPacked : 0)
        finished.durationSeconds = Double(time.monotonicNanoseconds() - began) / 1e9
        return finished
    }

    private func announceFloors(
        _ context: GCContext, _ listing: StoreListing
    ) async throws -> (CatalogState, [VolumeID: VolumeFloor]) {
        let known = try await catalog.newest()
        // Against an empty catalog every volume would look as if it had never been entered.
        guard known.number > 0 || listing.volumes.isEmpty else {
            throw StorageError(
                .corrupt, "\(store.location) has volumes, but no catalog that names them: nothing is deleted")
        }
        let floors = try await Floors(context: context, listing: listing).find(in: known)
        guard !context.dryRun else { return (known, floors) }
        let state = try await catalog.commit { editor in
            editor.announceFloors(floors)
            return editor.state
        }
        return (state, floors)
    }

    /// The order is part of the proof; see `CleanerGeneration`.
    private func prove(
        _ context: GCContext, _ listing: StoreListing, _ state: CatalogState, _ floors: [VolumeID: VolumeFloor]
    ) async throws -> Repacking {
        let generations = try await GenerationLog(store: store, keys: keys).all()
        let relocated = try await RelocationRecord.names(in: store)
        // What was entered since may rest on records that another pass has published since: its roots are read as well.
        let newest = context.dryRun ? state : try await catalog.newest()
        let roots = try await RootReader(context: context, listing: listing, floors: floors, state: newest).read()
        var named = NamedSegments()
        try await named.addTables(of: roots.runs.runs, context)
        try await named.follow(relocated, context)
        var repacking = Repacking(
            context: context, roots: roots, generations: generations.known, neverClosed: generations.neverClosed,
            knownRelocations: relocated.intersection(listing.relocations), named: named)
        try await repacking.run()
        return repacking
    }

    /// What is missing because another gc knew more and was faster is not lost.
    private static func blamingRivals<R: Sendable>(
        _ context: GCContext, since state: CatalogState, _ body: () async throws -> R
    ) async throws -> R {
        do {
            return try await body()
        } catch  where [.notFound, .corrupt].contains(error.storageCode) {
            guard try await context.isOvertaken(since: state) else { throw error }
            throw GCContext.rival(error)
        }
    }
}
