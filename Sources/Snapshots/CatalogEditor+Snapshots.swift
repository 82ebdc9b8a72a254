public import StoreCore

/// A volume or a snapshot, by its id.
public enum CatalogItem: Hashable, Sendable {
    case volume(VolumeID)
    case snapshot(SnapshotID)
}

extension CatalogEditor {
    /// Enters a snapshot, whose version and all that it names are in the store (R3).
    ///
    /// Throws `notFound` when its volume is gone, `alreadyExists` for a taken name, an error with `isBelowFloor` when
    /// what it rests on may be gone.
    public mutating func addSnapshot(_ record: SnapshotRecord) throws(StorageError) {
        if let known = state.snapshot(record.id), known == record { return }
        try requireName(record.name)
        let volume = try existing(record.volume)
        guard state.snapshot(named: record.name, of: volume.id) == nil else {
            throw StorageError(
                .alreadyExists, "snapshot '\(volume.name)@\(record.name)' exists already: choose another name")
        }
        guard state.snapshot(record.id) == nil else {
            throw .belowFloor("the id of snapshot '\(volume.name)@\(record.name)' was given before")
        }
        // The version's object carries an epoch of the volume in whose folder it lies.
        let home = record.version.volume == volume.id ? volume : try existing(record.version.volume)
        try requireAboveFloor(home, manifest: record.fromManifest, epoch: record.version.epoch)
        put(.snapshot(record))
    }

    /// Lets a snapshot rest on a copy of its version, under other keys and with a map of its own.
    ///
    /// The copy covers as little as the original, so that a gc pass that listed it before it had a name would take it
    /// for given up. So none may have announced floors since the copying began: `seen` is the birth floor of then.
    ///
    /// Throws `notFound` when the snapshot is gone, an error with `isBelowFloor` when gc passed by.
    public mutating func replaceVersion(
        of id: SnapshotID, _ old: VersionReference, with new: VersionReference, seen: UInt64
    ) throws(StorageError) {
        var snapshot = try existing(id)
        guard snapshot.version != new else { return }
        guard snapshot.version == old, state.birthFloor == seen else {
            throw .belowFloor("copying snapshot '\(title(snapshot))' took so long that gc passed by")
        }
        guard !snapshot.isHeldByRollback else {
            throw StorageError(.busy, "the volume is being rolled back to '\(title(snapshot))'")
        }
        // Its runs carry the epoch under which it was copied.
        let home = try existing(new.volume)
        try requireAboveFloor(home, manifest: home.manifestFloor, epoch: new.epoch)
        snapshot.version = new
        put(.snapshot(snapshot))
    }

    public mutating func rename(_ id: SnapshotID, to name: String) throws(StorageError) {
        var snapshot = try existing(id)
        guard snapshot.name != name else { return }
        try requireName(name)
        guard state.snapshot(named: name, of: snapshot.volume) == nil else {
            throw StorageError(
                .alreadyExists, "\(title(snapshot)): the volume has a snapshot '\(name)' already: choose another name")
        }
        snapshot.name = name
        put(.snapshot(snapshot))
    }

    /// Takes a snapshot out of the catalog. Throws `busy` for a held one, and says by which tag.
    public mutating func removeSnapshot(_ id: SnapshotID) throws(StorageError) {
        let snapshot = try existing(id)
        try requireFree(snapshot.holds, "snapshot '\(title(snapshot))'")
        remove(.snapshot(id))
    }
}

// MARK: Holds
extension CatalogEditor {
    static let holdsMax = 64

    /// Keeps an item from being deleted until the tag is released. Again is no change.
    public mutating func hold(_ item: CatalogItem, tag: String) throws(StorageError) {
        try requireName(tag)
        try changeHolds(of: item) { holds throws(StorageError) in
            guard !holds.contains(tag) else { return }
            guard holds.count < Self.holdsMax else {
                throw StorageError(.full, "there are \(Self.holdsMax) holds on it already: release one first")
            }
            holds.append(tag)
            holds.sort()
        }
    }
    /// Again is no change.
    public mutating func release(_ item: CatalogItem, tag: String) throws(StorageError) {
        try changeHolds(of: item) { holds in holds.removeAll { $0 == tag } }
    }

    private mutating func changeHolds(
        of item: CatalogItem, _ change: (inout [String]) throws(StorageError) -> Void
    ) throws(StorageError) {
        switch item {
        case .volume(let id):
            var volume = try existing(id)
            try change(&volume.holds)
            put(.volume(volume))
        case .snapshot(let id):
            var snapshot = try existing(id)
            try change(&snapshot.holds)
            put(.snapshot(snapshot))
        }
    }
    func requireFree(_ holds: [String], _ what: String) throws(StorageError) {
        guard holds.isEmpty else {
            let tags = holds.map { "'\($0)'" }.joined(separator: ", ")
            throw StorageError(.busy, "\(what) is held by \(tags): release it first")
        }
    }
}
