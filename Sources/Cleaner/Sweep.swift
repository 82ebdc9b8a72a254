import ObjectStorage
import SegmentLog
import Snapshots
import StoreCore

/// The last step: a LIST of everything, and each object's fate by its name. Deletes in an order in which a crash leaves
/// nothing that refers to what is gone, except what is itself garbage.
struct Sweep {
    private enum Verdict {
        case keep, delete
        /// Delete, but only after all volumes: until then the next pass must be able to read what it named.
        case deleteLast
    }
    private static let batchMax = 1000

    let context: GCContext
    let roots: Roots
    let runHashes: Set<Digest>
    let named: NamedSegments
    let emptied: Set<SegmentID>
    /// Names of the relocation records that may go.
    let relocationsGone: Set<Digest>
    /// Packed segments of these generations, and of later ones, stay even when nothing names them.
    let openGenerations: Set<UInt64>
    /// nil where there is none: then there is nothing packed either.
    let newestGeneration: UInt64?
    private(set) var report: GCReport
    private var batch: [ObjectKey] = []
    private var last: [(key: ObjectKey, kind: String, bytes: UInt64)] = []
    /// Deleted volumes of which something stays.
    private var remaining: Set<VolumeID> = []

    init(context: GCContext, proof repacking: Repacking, report: GCReport) {
        self.context = context
        roots = repacking.roots
        runHashes = repacking.roots.runs.hashes
        named = repacking.named
        emptied = repacking.emptied
        relocationsGone = repacking.knownRelocations.subtracting(
            repacking.named.relocations.keys.map(RelocationRecord.name(of:)))
        openGenerations = repacking.openGenerations
        newestGeneration = repacking.generations.first?.number
        self.report = report
    }

    /// - Returns: the report, and the deleted volumes of which nothing is left.
    mutating func run() async throws -> (report: GCReport, forgotten: [VolumeID]) {
        let catalog = try await CatalogSweep(context: context, state: roots.state)
        // References before what they refer to.
        for prefix in ["relocated/", "packed/", "volumes/", "catalog/", "catalog-page/"] {
            try await sweep(prefix, catalog)
        }
        try await sweep(besides: ["relocated/", "packed/", "volumes/", "catalog/", "catalog-page/"], catalog)
        let forgotten = roots.volumes.compactMap { id, fate in
            if case .deleted(isExpired: true, newestManifest: _) = fate { return remaining.contains(id) ? nil : id }
            return roots.state.deletedVolume(id) != nil && !remaining.contains(id) && fate.isOrphan ? id : nil
        }
        return (report, forgotten.sorted())
    }

    private mutating func sweep(_ prefix: String, _ catalog: CatalogSweep) async throws {
        var after: ObjectKey?
        while true {
            let page = try await context.store.list(prefix: prefix, after: after, limit: 1000)
            for object in page.objects { try await judge(object, catalog) }
            context.progress("delete", report.objectsExamined, nil)
            guard page.isTruncated, let end = page.objects.last else { break }
            after = end.key
        }
        try await flush()
    }

    /// Everything that lies between the prefixes that have their own turn.
    private mutating func sweep(besides prefixes: [String], _ catalog: CatalogSweep) async throws {
        var after: ObjectKey?
        while true {
            let page = try await context.store.list(prefix: "", after: after, limit: 1000)
            for object in page.objects where !prefixes.contains(where: object.key.text.hasPrefix) {
                try await judge(object, catalog)
            }
            guard page.isTruncated, let end = page.objects.last else { break }
            // Past the last key of a prefix that is done: '0' follows '/'.
            let done = prefixes.first { end.key.text.hasPrefix($0) }
            after = done.map { ObjectKey($0.dropLast() + "0") } ?? end.key
        }
        try await flush()
    }

    private mutating func judge(_ object: ObjectInfo, _ catalog: CatalogSweep) async throws {
        let name = ObjectName(object.key)
        report.objectsExamined += 1
        report.bytesExamined += object.byteCount
        let verdict = verdict(on: name, object, catalog)
        switch verdict {
        case .keep:
            report.keep(name.kind, object.byteCount)
            if let volume = name.volume { remaining.insert(volume) }
        case .delete:
            report.delete(name.kind, object.byteCount)
            batch.append(object.key)
            if batch.count >= Self.batchMax { try await deleteBatch() }
        case .deleteLast: last.append((object.key, name.kind, object.byteCount))
        }
    }

    private mutating func flush() async throws {
        try await deleteBatch()
        for object in last { report.delete(object.kind, object.bytes) }
        for part in last.map(\.key).chunked(Self.batchMax) where !context.dryRun {
            try await context.store.delete(Array(part))
        }
        last = []
    }
    private mutating func deleteBatch() async throws {
        if !batch.isEmpty, !context.dryRun { try await context.store.delete(batch) }
        batch = []
    }
}

// MARK: Verdicts
extension Sweep {
    private func verdict(on name: ObjectName, _ object: ObjectInfo, _ catalog: CatalogSweep) -> Verdict {
        switch name {
        // Replaced superblocks are deleted by who has opened the one in force.
        case .unknown, .superblock: .keep
        case .catalog(let number): catalog.isGarbage(number: number) ? .delete : .keep
        case .catalogPage(let number): catalog.isGarbage(page: object.key, number) ? .delete : .keep
        case .generation(let number): isGarbage(generation: number) ? .delete : .keep
        case .relocation(let digest): relocationsGone.contains(digest) ? .delete : .keep
        case .segment(.packed(let generation, let hash)): packed(generation, hash)
        case .segment(.log(let volume, let epoch, let sequence)):
            log(
                volume, LogPosition(epoch: epoch, sequence: sequence),
                isFence: object.byteCount <= UInt64(Fence.objectBytesMax))
        case .run(let volume, let epoch, let hash): run(volume, epoch, hash)
        case .version(let volume, let epoch, let hash):
            version(VersionReference(volume: volume, epoch: epoch, hash: hash))
        case .manifest(let volume, let number): manifest(volume, number)
        case .probe: isOld(object) ? .delete : .keep
        }
    }

    private func isOld(_ object: ObjectInfo) -> Bool {
        object.modified.adding(context.options.probeRetention) < context.time.now()
    }

    private func isGarbage(generation: UInt64) -> Bool {
        guard let newestGeneration else { return false }
        return generation < newestGeneration && !openGenerations.contains(generation)
    }
    private func packed(_ generation: UInt64, _ hash: Digest) -> Verdict {
        let id = SegmentID.packed(generation: generation, hash: hash)
        if named.contains(id) { return emptied.contains(id) ? .delete : .keep }
        guard let newestGeneration, generation <= newestGeneration else { return .keep }
        return openGenerations.contains(generation) ? .keep : .delete
    }

    private func log(_ volume: VolumeID, _ position: LogPosition, isFence: Bool) -> Verdict {
        let id = SegmentID.log(volume: volume, epoch: position.epoch, sequence: position.sequence)
        if named.contains(id), !emptied.contains(id) { return .keep }
        switch roots.fate(of: volume) {
        case .live(let volume):
            return isFence || volume.tail.protects(position.epoch, position.sequence) ? .keep : .delete
        case .deleted(let isExpired, _):
            guard isFence else { return .delete }
            return isExpired ? .deleteLast : .keep
        case .untouchable: return .keep
        case .orphan: return .delete
        }
    }

    private func run(_ volume: VolumeID, _ epoch: Epoch, _ hash: Digest) -> Verdict {
        if runHashes.contains(hash) { return .keep }
        switch roots.fate(of: volume) {
        case .live(let volume): return epoch < volume.epochFloor || roots.onceNamed.contains(hash) ? .delete : .keep
        case .untouchable: return .keep
        case .deleted, .orphan: return .delete
        }
    }

    private func version(_ version: VersionReference) -> Verdict {
        if roots.pinned.contains(version) { return .keep }
        switch roots.fate(of: version.volume) {
        case .live(let volume):
            return version.epoch < volume.epochFloor || roots.deadVersions.contains(version) ? .deleteLast : .keep
        case .untouchable: return .keep
        case .deleted, .orphan: return .deleteLast
        }
    }

    private func manifest(_ volume: VolumeID, _ number: UInt64) -> Verdict {
        switch roots.fate(of: volume) {
        case .live(let volume): return number < volume.manifestFloor ? .deleteLast : .keep
        case .untouchable: return .keep
        case .deleted(let isExpired, let newest):
            return number < newest || isExpired ? .deleteLast : .keep
        case .orphan: return .deleteLast
        }
    }
}

extension Roots.Fate {
    fileprivate var isOrphan: Bool {
        if case .orphan = self { return true }
        return false
    }
}
/// What of the catalog's own objects may go: numbers below its floor, and pages that no number from there on names.
struct CatalogSweep {
    private let floor: UInt64
    private let newest: UInt64
    private let pages: Set<ObjectKey>
    private let pagesUpTo: UInt64

    init(context: GCContext, state: CatalogState) async throws {
        floor = state.catalogFloor
        newest = state.number
        let kept = try await context.catalog.keptPages(from: state.catalogFloor)
        pages = Set(kept.pages)
        pagesUpTo = kept.upTo
    }
    func isGarbage(number: UInt64) -> Bool { number < floor && number < newest }
    /// A page that is being written for the next number is named by nobody yet.
    func isGarbage(page: ObjectKey, _ number: UInt64) -> Bool { number <= pagesUpTo && !pages.contains(page) }
}
