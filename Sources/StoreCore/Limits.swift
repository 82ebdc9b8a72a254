/// Every maximum in one place, with the relations between them. Settings may lower some, none may raise them.
public enum Limits {
    /// 1 PiB.
    public static let volumeBytesMax: UInt64 = 1 << 50
    /// One NBD request; the specification's customary payload limit.
    public static let requestBytesMax = 32 << 20
    /// A segment's target, before compression; a flush may seal a smaller one. 12 MiB keeps a GiB written in sequence,
    /// with its checkpoints every 64 MiB of log, below 130 PUTs (docs/decisions/0002).
    public static let segmentBytesTarget = 12 << 20
    public static let segmentBlocksMax = segmentBytesTarget / blockBytes
    /// What a reader accepts as a segment: the target, its index, and incompressible overhead.
    public static let segmentObjectBytesMax = 16 << 20
    /// Ranges that one segment maps, zeroes included, and records that it holds: keeps its index below 2 MiB.
    public static let segmentEntriesMax = 1 << 16
    /// A record is a run of neighbouring blocks.
    public static let recordBlocksMax = 32
    public static let recordBlocksDefault = 8
    /// What open replays at most between checkpoints.
    public static let logTailBytesMax = 64 << 20
    public static let logTailSegmentsMax = 256
    /// Any object but a segment or a run: catalog, manifest, version, relocation.
    public static let metadataObjectBytesMax = 64 << 20
    public static let runBlockBytesTarget = 32 << 10
    public static let nameBytesMax = 200
    /// Operation ids that a manifest or catalog version remembers.
    public static let recentOperationsMax = 64
}
