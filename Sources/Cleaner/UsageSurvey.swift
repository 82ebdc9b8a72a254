public import BlockMap
public import Codec
public import ObjectStorage
import SegmentLog
public import Snapshots
public import StoreCore

/// What holds space: a volume as it is now, or a snapshot.
public enum UsageRoot: Hashable, Sendable {
    case volume(VolumeID)
    case snapshot(SnapshotID)
}

/// The space that one root refers to, whoever else does so too.
public struct Usage: Hashable, Sendable {
    /// Bytes of records, as stored, that the runs of its map name; what newer runs hide is counted until it is
    /// compacted.
    public var writtenBytes: UInt64 = 0
    /// Bytes of the segments that hold them, dead parts included.
    public var storedBytes: UInt64 = 0
    /// Of these, bytes of segments that no other root refers to.
    public var uniqueBytes: UInt64 = 0
    public var segmentCount = 0
}

/// How much space each volume and snapshot takes. Reads manifests, versions and segment tables, no data and no extents;
/// every distinct run once.
public struct UsageSurvey: Sendable {
    private let context: GCContext

    public init(store: any ObjectStore, keys: KeyRing, maps: MapReader, time: any TimeSource) {
        context = GCContext(
            store: store, keys: keys, catalog: CatalogLog(store: store, keys: keys, time: time), maps: maps, time: time,
            options: GCOptions(), dryRun: true, progress: { _, _, _ in })
    }

    /// Roots that are deleted meanwhile are missing. Throws `corrupt` for what cannot be read.
    public func survey(_ catalog: CatalogState) async throws -> [UsageRoot: Usage] {
        var tries = 0
        while true {
            do {
                return try await attempt(catalog)
            } catch  where [.notFound, .busy].contains(error.storageCode) && tries < 4 {
                // Volumes move on, and gc takes what they leave behind.
                tries += 1
            }
        }
    }

    private func attempt(_ catalog: CatalogState) async throws -> [UsageRoot: Usage] {
        var runs = RunSet()
        var roots: [(UsageRoot, RunSet.Layout)] = []
        for (root, map) in try await maps(of: catalog) { roots.append((root, runs.insert(map))) }
        var tables = try await UsageTables(of: runs.runs, context)
        return tables.usage(of: roots)
    }

    private func maps(of catalog: CatalogState) async throws -> [(UsageRoot, MapLayout)] {
        let volumes = try await context.concurrently(catalog.volumes) { [context] volume in
            let manifests = ManifestLog(volume: volume.id, store: context.store, keys: context.keys, time: context.time)
            return try await manifests.newest().map { (UsageRoot.volume(volume.id), $0.state.map) }
        }
        let snapshots = try await context.concurrently(catalog.snapshots) {
            [context] snapshot -> (UsageRoot, MapLayout)? in
            do {
                let version = try await PinnedVersion.load(snapshot.version, from: context.store, keys: context.keys)
                return (.snapshot(snapshot.id), version.state.map)
            } catch  where error.storageCode == .notFound {
                return nil
            }
        }
        return (volumes + snapshots).compactMap(\.self)
    }
}

/// The segment tables of all runs, with numbers for names.
private struct UsageTables {
    private var bytes: [UInt64] = []
    /// For each run: the segments that hold what it names, and the bytes that it names.
    private var segments: [[Int32]] = []
    private var liveBytes: [UInt64] = []

    init(of runs: [RunReference], _ context: GCContext) async throws {
        var named = NamedSegments()
        let tables = try await context.concurrently(runs) { run in
            var usages: [SegmentUsage] = []
            try await context.maps.forEachSegment(of: run) { usages.append($0) }
            return usages
        }
        for usage in tables.joined() { try named.add(usage.segment) }
        try await named.follow(try await RelocationRecord.names(in: context.store), context)
        var numbers: [SegmentID: Int32] = [:]
        for usages in tables {
            liveBytes.append(usages.reduce(0) { $0 + $1.liveBytes })
            let places = usages.flatMap { named.places(of: $0.segment) }
            segments.append(places.map { number(of: $0, &numbers) })
        }
    }
    private mutating func number(of segment: SegmentReference, _ numbers: inout [SegmentID: Int32]) -> Int32 {
        if let known = numbers[segment.id] { return known }
        let number = Int32(bytes.count)
        numbers[segment.id] = number
        bytes.append(UInt64(segment.byteCount))
        return number
    }

    mutating func usage(of roots: [(UsageRoot, RunSet.Layout)]) -> [UsageRoot: Usage] {
        /// The only root that refers to a segment, by its index; -1 for none yet, -2 for several.
        var owners = [Int32](repeating: -1, count: bytes.count)
        var seenBy = owners
        var found: [UsageRoot: Usage] = [:]
        for (index, (root, layout)) in roots.enumerated() {
            var usage = Usage()
            let index = Int32(index)
            for run in Set(layout.levels.joined()) {
                usage.writtenBytes += liveBytes[Int(run)]
                for segment in segments[Int(run)].map(Int.init) where seenBy[segment] != index {
                    seenBy[segment] = index
                    owners[segment] = owners[segment] == -1 ? index : -2
                    usage.segmentCount += 1
                    usage.storedBytes += bytes[segment]
                }
            }
            found[root] = usage
        }
        for (segment, owner) in owners.enumerated() where owner >= 0 {
            found[roots[Int(owner)].0]?.uniqueBytes += bytes[segment]
        }
        return found
    }
}
