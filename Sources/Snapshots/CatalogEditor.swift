public import Codec
public import StoreCore

/// The catalog while a commit changes it: the operations, with the rules that each must keep.
///
/// An operation either succeeds or throws and changes nothing. A commit may run several times, on newer and newer
/// states, so that it must rest on nothing but what it finds in `state`.
public struct CatalogEditor: Sendable {
    /// As changed so far.
    public private(set) var state: CatalogState
    /// One moment for the whole commit.
    public let now: Timestamp
    /// Rows that were changed since the last number.
    private(set) var changed: Set<RowID> = []
    /// A number is wanted even where no row changed.
    private(set) var isTouched = false
    /// Pages are made anew although nothing in them changed.
    var renewsPages = false

    init(_ base: CatalogState, now: Timestamp) {
        state = base
        state.number = base.number + 1
        state.created = now
        self.now = now
    }
    /// The number that this commit will get.
    public var number: UInt64 { state.number }
    var hasChanges: Bool { isTouched || !changed.isEmpty }

    mutating func put(_ row: CatalogRow) {
        guard state.row(row.id) != row else { return }
        let isNew = state.put(row)
        precondition(isNew, "names were checked before")
        changed.insert(row.id)
    }
    mutating func remove(_ id: RowID) {
        guard state.row(id) != nil else { return }
        state.remove(id)
        changed.insert(id)
    }
    mutating func touch(_ change: (inout CatalogState) -> Void) {
        isTouched = true
        change(&state)
    }

    func existing(_ id: VolumeID) throws(StorageError) -> VolumeRecord {
        if let volume = state.volume(id) { return volume }
        if let deleted = state.deletedVolume(id) {
            throw StorageError(.notFound, "volume '\(deleted.name)' was deleted at \(deleted.deleted.utcText)")
        }
        throw StorageError(.notFound, "there is no volume with id \(id)")
    }
    func existing(_ id: SnapshotID) throws(StorageError) -> SnapshotRecord {
        guard let snapshot = state.snapshot(id) else {
            throw StorageError(.notFound, "there is no snapshot with id \(id); it may have been deleted")
        }
        return snapshot
    }
    /// `volume@snapshot`, as people call it.
    func title(_ snapshot: SnapshotRecord) -> String {
        "\(state.volume(snapshot.volume)?.name ?? snapshot.volume.description)@\(snapshot.name)"
    }
    /// What is about to be named was sealed under this data key. Where another has become the current one meanwhile, it
    /// may be retired before the names are read, and nothing would keep it: make it again. By now this process knows of
    /// a rotation, because it has read the number that this commit rests on.
    ///
    /// Throws an error with `isBelowFloor`.
    public func requireKey(_ id: DataKeyID, of keys: KeyRing) throws(StorageError) {
        guard keys.currentKeyID == id else { throw .belowFloor("the store got a new data key meanwhile") }
    }
    func requireName(_ name: String) throws(StorageError) {
        // The reference's parser has the line that says which characters are allowed.
        let parsed = try VolumeReference(parsing: name)
        guard parsed.snapshot == nil else {
            throw StorageError(.invalid, "'\(name)' is not a valid name: '@' parts a volume's name from a snapshot's")
        }
    }
}

/// What an operation rests on may be gone already: nothing happened; make it again from the newest version, with new
/// ids. It is the cause of the `StorageError` that says so.
public struct BelowFloor: Error, Sendable {
    init() {}
}
extension StorageError {
    public static func belowFloor(_ message: String) -> StorageError {
        StorageError(.busy, "\(message): try again from the newest version", cause: BelowFloor())
    }
}
extension Error {
    /// True when the operation should be made again from the newest manifest, with new ids.
    public var isBelowFloor: Bool { (self as? StorageError)?.cause is BelowFloor }
}
