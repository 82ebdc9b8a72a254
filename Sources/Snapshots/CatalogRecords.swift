public import StoreCore

/// What a branch started from, as it was called then: ancestors may be renamed or go.
public struct Lineage: Hashable, Sendable {
    public var volume: VolumeID
    public var volumeName: String
    public var snapshot: SnapshotID?
    public var snapshotName: String?
    /// The moment whose state the branch began with.
    public var time: Timestamp

    public init(
        volume: VolumeID, volumeName: String, snapshot: SnapshotID? = nil, snapshotName: String? = nil, time: Timestamp
    ) {
        self.volume = volume
        self.volumeName = volumeName
        self.snapshot = snapshot
        self.snapshotName = snapshotName
        self.time = time
    }
    public var name: String { snapshotName.map { "\(volumeName)@\($0)" } ?? volumeName }
}

/// A volume, as the catalog knows it.
public struct VolumeRecord: Hashable, Sendable {
    public let id: VolumeID
    public var name: String
    public var created: Timestamp
    public var parent: Lineage?
    /// Manifests below this number may be gone: nothing new may rest on them, and readers ignore them.
    public internal(set) var manifestFloor: UInt64
    /// Objects that carry a lower epoch and that nothing names may be gone: no version of such an epoch can be entered.
    public internal(set) var epochFloor: Epoch
    /// Sorted tags; while there is one, the volume cannot be deleted.
    public internal(set) var holds: [String]
    /// Fields of newer versions of zerofs, carried along unread.
    var extra: [UInt8] = []

    public init(id: VolumeID, name: String, created: Timestamp, parent: Lineage? = nil) {
        self.init(
            id: id, name: name, created: created, parent: parent, manifestFloor: 1, epochFloor: Epoch(0), holds: [])
    }
    init(
        id: VolumeID, name: String, created: Timestamp, parent: Lineage?, manifestFloor: UInt64, epochFloor: Epoch,
        holds: [String]
    ) {
        self.id = id
        self.name = name
        self.created = created
        self.parent = parent
        self.manifestFloor = manifestFloor
        self.epochFloor = epochFloor
        self.holds = holds
    }
}

/// A snapshot, as the catalog knows it: the name that keeps a pinned version alive.
public struct SnapshotRecord: Hashable, Sendable {
    public let id: SnapshotID
    public let volume: VolumeID
    public var name: String
    public var created: Timestamp
    public var version: VersionReference
    public var sizeBytes: UInt64
    /// Bytes of blocks that were written, where that was known.
    public var writtenBytes: UInt64?
    /// The manifest that its maker started from: it must not lie below the volume's floor when this is entered.
    public var fromManifest: UInt64
    /// Sorted tags; while there is one, the snapshot cannot be deleted.
    public internal(set) var holds: [String]
    /// Fields of newer versions of zerofs, carried along unread.
    var extra: [UInt8] = []

    public init(
        id: SnapshotID, volume: VolumeID, name: String, created: Timestamp, version: VersionReference,
        sizeBytes: UInt64, writtenBytes: UInt64? = nil, fromManifest: UInt64
    ) {
        self.id = id
        self.volume = volume
        self.name = name
        self.created = created
        self.version = version
        self.sizeBytes = sizeBytes
        self.writtenBytes = writtenBytes
        self.fromManifest = fromManifest
        holds = []
    }
}

/// What is left of a deleted volume until gc is done with it: its id is never given again, its objects are garbage.
public struct DeletedVolume: Hashable, Sendable {
    public let id: VolumeID
    /// As it was called; the name is free.
    public var name: String
    public var deleted: Timestamp
    /// The catalog number that deleted it.
    public var catalogNumber: UInt64
    var extra: [UInt8] = []

    init(id: VolumeID, name: String, deleted: Timestamp, catalogNumber: UInt64) {
        self.id = id
        self.name = name
        self.deleted = deleted
        self.catalogNumber = catalogNumber
    }
}
