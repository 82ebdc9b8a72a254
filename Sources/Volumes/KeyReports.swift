import Cleaner
import Codec
import StoreCore

/// The data keys of a store, as `keys list` prints them.
public struct KeysReport: Codable, Sendable, Equatable {
    public struct Key: Codable, Sendable, Equatable {
        public var id: UInt32
        public var isCurrent: Bool
        /// False for a key that objects name and the superblock does not hold: they cannot be read.
        public var isHeld: Bool
        public var objects: UInt64?
        public var bytes: UInt64?
        /// Objects by kind.
        public var perKind: [String: UInt64]?
        /// When the first object under it was written, as the store says: keys carry no date.
        public var firstObject: String?
        public var lastObject: String?
    }
    public var storeID: String
    public var created: String
    /// Number of the superblock in force.
    public var superblock: UInt64
    /// `passphrase` or `key-file`.
    public var unlockedBy: String
    /// How the key that wraps the data keys is derived.
    public var derivation: String
    public var cipher: String
    public var keys: [Key]
}

/// What `keys rotate` did.
public struct RotationReport: Codable, Sendable, Equatable {
    /// The data key for new objects.
    public var current: UInt32
    public var superblock: UInt64
    /// Keys that older objects are under.
    public var older: [UInt32]
    /// With --rewrite.
    public var rewrite: RewriteReport?
}

/// What moving everything to the current data key achieved.
public struct RewriteReport: Codable, Sendable, Equatable {
    public struct Remainder: Codable, Sendable, Equatable {
        public var key: UInt32
        /// Objects by kind that cannot be read without it.
        public var perKind: [String: UInt64]
        /// One of each kind.
        public var examples: [String: String]
    }
    public var current: UInt32
    /// Keys that the superblock does not hold any more.
    public var retired: [UInt32] = []
    /// What keeps the others: objects, and reasons that a person can mend.
    public var remaining: [Remainder] = []
    public var reasons: [String] = []
    public var segmentsRewritten: UInt64 = 0
    public var bytesRewritten: UInt64 = 0
    public var mapsRewritten: UInt64 = 0
    public var isFinished: Bool { remaining.isEmpty && reasons.isEmpty }

    init(current: DataKeyID) { self.current = current.value }
}
