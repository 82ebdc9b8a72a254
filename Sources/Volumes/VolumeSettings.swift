public import BlockMap
import StoreCore

/// When FLUSH and FUA are answered; see docs/architecture.md.
public enum Durability: String, Sendable, Codable, CaseIterable {
    /// All earlier writes are in the bucket.
    case store
    /// All earlier writes are in the fsynced local journal; the bucket follows within `uploadDelay`.
    case journal
}

/// How a volume is served. Bytes are bytes; every field has the default that `zerofs init` writes.
public struct VolumeSettings: Sendable {
    public var durability = Durability.store
    /// Written data held in memory until it is in the bucket; when it is full, writes wait. At least four segments'
    /// worth is used: 48 MiB.
    public var writeBufferBytes = 256 << 20
    /// A segment that is not full is sealed when its oldest write is this old.
    public var uploadDelay = Duration.seconds(5)
    /// Small segments that flushes may have on their way at once; further flushes share the next one.
    public var flushesInFlightMax = 4
    /// How long a flush, or a write that waits for room, waits for a store that does not answer; nil waits for ever.
    public var storeDeadline: Duration?
    /// Blocks in a record: small for random reads, large for compression.
    public var recordBlocks = Limits.recordBlocksDefault
    /// zstd level for new segments; nil stores blocks as they are.
    public var compressionLevel: Int32? = 1
    /// The local journal's size on disk.
    public var journalBytes: UInt64 = 1 << 30
    /// One file of it, zero-filled ahead of use; an open waits for the first. At least 2 MiB.
    public var journalFileBytes = 16 << 20
    /// Every write through the journal first. Without it a killed server loses what was written since the last flush.
    public var isJournaled = true
    /// What a segment takes before it is sealed unasked. May only be lowered.
    public var segmentBytes = Limits.segmentBytesTarget
    /// Log between two checkpoints. Both may only be lowered.
    public var checkpointBytes = Limits.logTailBytesMax
    public var checkpointSegments = Limits.logTailSegmentsMax
    public var compaction = CompactionPolicy.standard
    public init() {}
}

extension VolumeSettings {
    /// With room for some segments: in less, a write could wait for ever for a buffer that nothing seals.
    var sound: VolumeSettings {
        var settings = self
        settings.segmentBytes = min(max(segmentBytes, blockBytes), Limits.segmentBytesTarget)
        settings.checkpointBytes = min(max(checkpointBytes, 1), Limits.logTailBytesMax)
        settings.checkpointSegments = min(max(checkpointSegments, 1), Limits.logTailSegmentsMax)
        settings.writeBufferBytes = max(writeBufferBytes, 4 * settings.segmentBytes)
        return settings
    }
}
