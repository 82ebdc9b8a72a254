/// What a pass of gc found and did. Of a dry run: what it would do.
public struct GCReport: Codable, Hashable, Sendable {
    public struct KindCount: Codable, Hashable, Sendable {
        public var objectsKept: UInt64 = 0
        public var bytesKept: UInt64 = 0
        public var objectsDeleted: UInt64 = 0
        public var bytesDeleted: UInt64 = 0
        public init() {}
    }

    public var dryRun: Bool
    public var objectsExamined: UInt64 = 0
    public var bytesExamined: UInt64 = 0
    public var objectsKept: UInt64 = 0
    public var bytesKept: UInt64 = 0
    /// Segments whose needed records were moved elsewhere; bytes of these segments.
    public var segmentsRepacked: UInt64 = 0
    public var bytesRepacked: UInt64 = 0
    /// Bytes of the segments that took these records up.
    public var bytesPacked: UInt64 = 0
    public var objectsDeleted: UInt64 = 0
    public var bytesDeleted: UInt64 = 0
    /// Bytes in the store when the pass began, and what of them and of its own it leaves.
    public var bytesBefore: UInt64 = 0
    public var bytesAfter: UInt64 = 0
    /// Objects whose names are not zerofs's; they were left alone.
    public var objectsUnknown: UInt64 = 0
    /// Segments that should be repacked and could not be read: run `zerofs verify`.
    public var segmentsUnreadable: UInt64 = 0
    /// By `segment`, `packed-segment`, `run`, `manifest`, `version`, `catalog`, `catalog-page`, `relocation`,
    /// `generation`, `superblock`, `probe`, `unknown`.
    public var perKind: [String: KindCount] = [:]
    public var durationSeconds: Double = 0

    public init(dryRun: Bool) { self.dryRun = dryRun }

    mutating func keep(_ kind: String, _ bytes: UInt64) {
        objectsKept += 1
        bytesKept += bytes
        perKind[kind, default: KindCount()].objectsKept += 1
        perKind[kind, default: KindCount()].bytesKept += bytes
        if kind == "unknown" { objectsUnknown += 1 }
    }
    mutating func delete(_ kind: String, _ bytes: UInt64) {
        objectsDeleted += 1
        bytesDeleted += bytes
        perKind[kind, default: KindCount()].objectsDeleted += 1
        perKind[kind, default: KindCount()].bytesDeleted += bytes
    }
}
