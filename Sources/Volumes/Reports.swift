import StoreCore

/// What commands print; with `--json` these names are the contract (docs/cli.md). Sizes are bytes, times ISO 8601 UTC.

public struct VolumeReport: Codable, Sendable, Equatable {
    public enum Kind: String, Codable, Sendable { case volume, branch, snapshot }
    /// `pg-prod` or `pg-prod@monday`.
    public var name: String
    public var kind: Kind
    public var id: String
    public var sizeBytes: UInt64
    /// Compressed data that its map refers to. Only `list` and `info` survey it.
    public var writtenBytes: UInt64?
    /// Bytes in the store of segments that nothing else refers to: what deleting it would give back, at most.
    public var uniqueBytes: UInt64?
    public var created: String
    /// What it was branched from, or for a snapshot its volume.
    public var parent: String?
    public var holds: [String]
    /// Connections to this server; nil where no server was asked.
    public var attachedCount: Int?
    /// Who holds it for writing: a host's name; nil when it is released.
    public var owner: String?
    /// Writes that were answered may be gone, and nobody has accepted that: why. Known once it was opened here.
    public var loss: String?
}

public struct VolumeDetails: Codable, Sendable, Equatable {
    public var summary: VolumeReport
    public var epoch: UInt64
    public var manifestNumber: UInt64
    /// Segment up to which the map covers the log, `epoch/sequence`.
    public var coveredPosition: String
    public var runCount: Int
    public var runBytes: UInt64
    public var extentCount: UInt64
    public var segmentCount: Int
    public var storedBytes: UInt64
    public var snapshots: [String]
    public var branches: [String]
    public var durability: String?
}

public struct CreatedReport: Codable, Sendable, Equatable {
    public var name: String
    public var id: String
    public var sizeBytes: UInt64
    public init(name: String, id: String, sizeBytes: UInt64) {
        self.name = name
        self.id = id
        self.sizeBytes = sizeBytes
    }
}

public struct DeletedReport: Codable, Sendable, Equatable {
    /// Everything that was deleted, snapshots included.
    public var names: [String]
}

public struct RollbackReport: Codable, Sendable, Equatable {
    public var name: String
    public var target: String
    /// The snapshot that keeps what was replaced.
    public var safetySnapshot: String
}

/// What `accept` did.
public struct AcceptedReport: Codable, Sendable, Equatable {
    public var name: String
    /// False where nothing waited to be accepted.
    public var wasLost: Bool
    /// When the loss was noticed.
    public var noticed: String?
    public var reason: String?
    public init(name: String, wasLost: Bool, noticed: String? = nil, reason: String? = nil) {
        self.name = name
        self.wasLost = wasLost
        self.noticed = noticed
        self.reason = reason
    }
}

/// A journal in the data directory whose owner lost the volume to another.
public struct JournalReport: Codable, Sendable, Equatable {
    /// What commands call it.
    public var id: String
    /// The volume's name now; nil where it was deleted.
    public var volume: String?
    public var volumeID: String
    /// Of the opening that wrote it, on this host.
    public var epoch: UInt64
    public var created: String
    /// Who has the volume open now; nil where nobody has.
    public var owner: String?
    /// Writes in it, and the bytes that they wrote.
    public var writes: UInt64
    public var bytes: UInt64
    /// Of these, what the store does not hold; nil where the state that they go on from, or its key, is gone, damaged,
    /// or not known yet because another writer is just opening the volume.
    public var writesMissing: UInt64?
    public var bytesMissing: UInt64?
    /// False where even the journal may lack writes that were answered.
    public var isComplete: Bool
    public var diskBytes: UInt64
    public init(
        id: String, volume: String?, volumeID: String, epoch: UInt64, created: String, owner: String?, writes: UInt64,
        bytes: UInt64, writesMissing: UInt64?, bytesMissing: UInt64?, isComplete: Bool, diskBytes: UInt64
    ) {
        self.id = id
        self.volume = volume
        self.volumeID = volumeID
        self.epoch = epoch
        self.created = created
        self.owner = owner
        self.writes = writes
        self.bytes = bytes
        self.writesMissing = writesMissing
        self.bytesMissing = bytesMissing
        self.isComplete = isComplete
        self.diskBytes = diskBytes
    }
}

/// How far a long command has come.
public struct ProgressReport: Codable, Sendable, Equatable {
    public var phase: String
    public var done: UInt64
    public var total: UInt64?
    public init(phase: String, done: UInt64, total: UInt64? = nil) {
        self.phase = phase
        self.done = done
        self.total = total
    }
}
public typealias ProgressHandler = @Sendable (ProgressReport) -> Void
