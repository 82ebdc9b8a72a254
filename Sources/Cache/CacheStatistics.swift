/// Of the memory tier.
public struct RecordCacheStatistics: Hashable, Sendable {
    /// Lookups, one for each record that a read touches.
    public var hits: UInt64 = 0
    public var misses: UInt64 = 0
    public var records = 0
    public var bytes = 0
    public var bytesMax: Int
    public init(bytesMax: Int) { self.bytesMax = bytesMax }
}

/// Of the disk tier.
public struct DiskCacheStatistics: Hashable, Sendable {
    public var hits: UInt64 = 0
    public var misses: UInt64 = 0
    public var bytesRead: UInt64 = 0
    public var bytesWritten: UInt64 = 0
    /// Frames that failed to open and were forgotten.
    public var corruptFrames: UInt64 = 0
    /// Frames not kept because the disk was slower than the store.
    public var dropped: UInt64 = 0
    /// Failed reads and writes of the disk.
    public var errors: UInt64 = 0
    public var records = 0
    /// On disk, with what is not used any more and not yet reclaimed.
    public var bytes: UInt64 = 0
    public var bytesMax: UInt64 = 0
    public init() {}
}

/// Of what the memory tier lacked.
public struct FetchStatistics: Hashable, Sendable {
    /// Records read from the disk tier.
    public var fromDisk: UInt64 = 0
    /// Records read from the store.
    public var fromStore: UInt64 = 0
    /// Ranged GETs, and the bytes that they brought, gaps between joined records included.
    public var gets: UInt64 = 0
    public var bytesFetched: UInt64 = 0
    /// Reads that waited for a fetch that another had begun.
    public var shared: UInt64 = 0
    /// Records found at a new place because their segment was repacked.
    public var relocated: UInt64 = 0
    /// Records asked for ahead of a reader.
    public var prefetched: UInt64 = 0
    public var errors: UInt64 = 0
    public init() {}
}
