public import StoreCore

/// What a branch copies its runs from, and what must therefore still be there when the branch is entered.
public enum BranchSource: Hashable, Sendable {
    /// A snapshot's state, and the version that it was read from.
    case snapshot(SnapshotID, version: VersionReference)
    /// A live volume's state: runs that its manifest of this number names, and runs or segments that were written for
    /// the branch under this epoch and that nothing names yet.
    case volume(VolumeID, fromManifest: UInt64, epoch: Epoch)
}

extension CatalogEditor {
    /// Enters a new volume, whose first manifest is in the store (R3).
    ///
    /// - Parameter bornAt: the catalog number that the maker had seen before it put anything under the new id into the
    ///   store.
    /// Throws `alreadyExists` for a taken name, `invalid` for a bad one, an error with `isBelowFloor` when gc has
    /// meanwhile given up what it could not know of: start again with a new id.
    public mutating func createVolume(_ record: VolumeRecord, bornAt: UInt64) throws(StorageError) {
        if let known = state.volume(record.id), known == record { return }
        try requireName(record.name)
        guard state.volume(named: record.name) == nil else {
            throw StorageError(.alreadyExists, "a volume '\(record.name)' exists already: choose another name")
        }
        guard state.volume(record.id) == nil, state.deletedVolume(record.id) == nil else {
            throw .belowFloor("the id of volume '\(record.name)' was given before")
        }
        guard bornAt >= state.birthFloor else {
            throw .belowFloor("making volume '\(record.name)' took so long that gc passed by")
        }
        put(.volume(record))
    }

    /// Enters a branch: a new volume that names what its source names.
    ///
    /// Throws as `createVolume`; `notFound` when the source is gone; an error with `isBelowFloor` when what it rests on
    /// may be.
    public mutating func addBranch(
        _ record: VolumeRecord, of source: BranchSource, bornAt: UInt64
    ) throws(StorageError) {
        switch source {
        case .snapshot(let id, let version):
            let snapshot = try existing(id)
            guard snapshot.version == version else {
                throw .belowFloor("snapshot '\(title(snapshot))' rests on another version by now")
            }
        case .volume(let id, let manifest, let epoch):
            try requireAboveFloor(try existing(id), manifest: manifest, epoch: epoch)
        }
        try createVolume(record, bornAt: bornAt)
    }

    func requireAboveFloor(_ volume: VolumeRecord, manifest: UInt64, epoch: Epoch) throws(StorageError) {
        guard manifest >= volume.manifestFloor else {
            throw .belowFloor(
                "manifest \(manifest) of volume '\(volume.name)' lies below the floor \(volume.manifestFloor)")
        }
        guard epoch >= volume.epochFloor else {
            throw .belowFloor("epoch \(epoch) of volume '\(volume.name)' lies below the floor \(volume.epochFloor)")
        }
    }

    /// Gives a volume another name; its id, its snapshots and its branches stay what they are.
    public mutating func rename(_ id: VolumeID, to name: String) throws(StorageError) {
        var volume = try existing(id)
        guard volume.name != name else { return }
        try requireName(name)
        guard state.volume(named: name) == nil else {
            throw StorageError(.alreadyExists, "a volume '\(name)' exists already: choose another name")
        }
        volume.name = name
        put(.volume(volume))
    }

    /// Takes a volume out of the catalog, and with `force` its snapshots. What it had is garbage from then on, except
    /// what branches name; its id stays known until `forgetVolume`.
    ///
    /// Throws `busy` for whatever is held, and says by which tag, or has snapshots and no `force`.
    /// - Returns: the snapshots that went with it.
    @discardableResult
    public mutating func removeVolume(_ id: VolumeID, force: Bool = false) throws(StorageError) -> [SnapshotRecord] {
        let volume = try existing(id)
        let snapshots = state.snapshots(of: id)
        try requireFree(volume.holds, "volume '\(volume.name)'")
        guard force || snapshots.isEmpty else {
            let names = snapshots.map(\.name).sorted()
            let rest = names.count > 10 ? " and \(names.count - 10) more" : ""
            let shown = names.prefix(10).joined(separator: ", ") + rest
            throw StorageError(
                .busy,
                """
                volume '\(volume.name)' has snapshots (\(shown)): delete them first, or use --force to delete them \
                with it
                """)
        }
        for snapshot in snapshots { try requireFree(snapshot.holds, "snapshot '\(title(snapshot))'") }
        for snapshot in snapshots { remove(.snapshot(snapshot.id)) }
        remove(.volume(id))
        put(.deleted(DeletedVolume(id: id, name: volume.name, deleted: now, catalogNumber: number)))
        return snapshots
    }

    /// gc's last step for a deleted volume, after its last object is gone. Unknown ids are no error.
    public mutating func forgetVolume(_ id: VolumeID) { remove(.deleted(id)) }
}
