public import Codec
public import StoreCore

/// How a segment's records are made.
public struct SegmentOptions: Hashable, Sendable {
    /// Neighbouring blocks that are compressed and sealed as one, at most; a cold read fetches whole records.
    /// 1...`Limits.recordBlocksMax`.
    public var recordBlocks: Int
    /// zstd's level; nil leaves everything as it is.
    public var compressionLevel: Int32?

    public init(
        recordBlocks: Int = Limits.recordBlocksDefault, compressionLevel: Int32? = Compression.levelDefault
    ) {
        self.recordBlocks = recordBlocks
        self.compressionLevel = compressionLevel
    }
}
