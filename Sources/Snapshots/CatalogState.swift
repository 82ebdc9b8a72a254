import Codec
public import StoreCore

/// Everything that the catalog says at one number. A value: it never changes under its reader, and copies are cheap.
public struct CatalogState: Sendable {
    /// 0 before anything was ever entered.
    public internal(set) var number: UInt64 = 0
    public internal(set) var created = Timestamp(nanoseconds: 0)
    /// Catalog numbers below this may be gone, and mean nothing where they are still seen.
    public internal(set) var catalogFloor: UInt64 = 1
    /// A volume whose making began before this catalog number cannot be entered any more: what it had in the store may
    /// be gone (see `CatalogEditor.announceFloors`).
    public internal(set) var birthFloor: UInt64 = 0

    private var volumesByID = ShardedMap<VolumeID, VolumeRecord> { RowID.volume($0).hash }
    private var snapshotsByID = ShardedMap<SnapshotID, SnapshotRecord> { RowID.snapshot($0).hash }
    private var deletedByID = ShardedMap<VolumeID, DeletedVolume> { RowID.deleted($0).hash }
    private var idsByName = ShardedMap<String, VolumeID> { XXH3.hash(Array($0.utf8)) }
    private var snapshotIDs = ShardedMap<VolumeID, [String: SnapshotID]> { RowID.volume($0).hash }

    init() {}
}

// MARK: Lookup
extension CatalogState {
    public var volumeCount: Int { volumesByID.count }
    public var snapshotCount: Int { snapshotsByID.count }

    public func volume(_ id: VolumeID) -> VolumeRecord? { volumesByID[id] }
    public func volume(named name: String) -> VolumeRecord? { idsByName[name].flatMap { volumesByID[$0] } }
    public func snapshot(_ id: SnapshotID) -> SnapshotRecord? { snapshotsByID[id] }
    public func snapshot(named name: String, of volume: VolumeID) -> SnapshotRecord? {
        snapshotIDs[volume]?[name].flatMap { snapshotsByID[$0] }
    }
    public func deletedVolume(_ id: VolumeID) -> DeletedVolume? { deletedByID[id] }

    /// What a command names. Throws `notFound` with the name that is missing.
    public func resolve(
        _ reference: VolumeReference
    ) throws(StorageError) -> (volume: VolumeRecord, snapshot: SnapshotRecord?) {
        guard let volume = volume(named: reference.volume) else {
            throw StorageError(.notFound, "there is no volume '\(reference.volume)'")
        }
        guard let name = reference.snapshot else { return (volume, nil) }
        guard let snapshot = snapshot(named: name, of: volume.id) else {
            throw StorageError(.notFound, "volume '\(reference.volume)' has no snapshot '\(name)'")
        }
        return (volume, snapshot)
    }

    /// All volumes by name.
    public var volumes: [VolumeRecord] { unorderedVolumes.sorted { $0.name < $1.name } }
    private var unorderedVolumes: [VolumeRecord] {
        var found: [VolumeRecord] = []
        found.reserveCapacity(volumeCount)
        volumesByID.forEach { found.append($1) }
        return found
    }
    /// The oldest first; of the same moment by name.
    public func snapshots(of volume: VolumeID) -> [SnapshotRecord] {
        (snapshotIDs[volume] ?? [:]).values.compactMap { snapshotsByID[$0] }
            .sorted { ($0.created, $0.name) < ($1.created, $1.name) }
    }
    /// All snapshots, in the order of their ids.
    public var snapshots: [SnapshotRecord] {
        var found: [SnapshotRecord] = []
        snapshotsByID.forEach { found.append($1) }
        return found.sorted { $0.id < $1.id }
    }
    /// Branches of this volume or of its snapshots, by name; looks at every volume.
    public func children(of volume: VolumeID) -> [VolumeRecord] {
        unorderedVolumes.filter { $0.parent?.volume == volume }.sorted { $0.name < $1.name }
    }
    /// Volumes that gc has not yet forgotten, in the order of their ids.
    public var deletedVolumes: [DeletedVolume] {
        var found: [DeletedVolume] = []
        deletedByID.forEach { found.append($1) }
        return found.sorted { $0.id < $1.id }
    }
}

// MARK: Rows
extension CatalogState {
    func row(_ id: RowID) -> CatalogRow? {
        switch id.kind {
        case .volume: volumesByID[VolumeID(id.bits)].map(CatalogRow.volume)
        case .snapshot: snapshotsByID[SnapshotID(id.bits)].map(CatalogRow.snapshot)
        case .deleted: deletedByID[VolumeID(id.bits)].map(CatalogRow.deleted)
        }
    }

    /// Every row of a part of the hash space, sorted.
    func rows(in region: PageRegion) -> [CatalogRow] {
        var found: [CatalogRow] = []
        func take(_ row: CatalogRow) { if region.contains(row.id.hash) { found.append(row) } }
        volumesByID.forEach(in: region.shards) { take(.volume($1)) }
        snapshotsByID.forEach(in: region.shards) { take(.snapshot($1)) }
        deletedByID.forEach(in: region.shards) { take(.deleted($1)) }
        return found.sorted { $0.id < $1.id }
    }

    mutating func remove(_ id: RowID) {
        switch row(id) {
        case .volume(let record):
            volumesByID[record.id] = nil
            if idsByName[record.name] == record.id { idsByName[record.name] = nil }
        case .snapshot(let record):
            snapshotsByID[record.id] = nil
            var names = snapshotIDs[record.volume] ?? [:]
            if names[record.name] == record.id { names[record.name] = nil }
            snapshotIDs[record.volume] = names.isEmpty ? nil : names
        case .deleted(let record): deletedByID[record.id] = nil
        case nil: break
        }
    }

    /// Enters a row in place of the one that has its id. False when another holds its name.
    mutating func put(_ row: CatalogRow) -> Bool {
        remove(row.id)
        switch row {
        case .volume(let record):
            guard idsByName[record.name] == nil else { return false }
            volumesByID[record.id] = record
            idsByName[record.name] = record.id
        case .snapshot(let record):
            guard snapshotIDs[record.volume]?[record.name] == nil else { return false }
            snapshotsByID[record.id] = record
            snapshotIDs[record.volume, default: [:]][record.name] = record.id
        case .deleted(let record): deletedByID[record.id] = record
        }
        return true
    }
}
