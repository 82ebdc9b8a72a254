public import BlockMap
public import StoreCore

/// The state of a volume at a covered position: what manifests and pinned versions share.
public struct VolumeState: Hashable, Sendable {
    public var sizeBytes: UInt64
    /// All of the log up to here is in `map`; the rest of the log is replayed on top of it.
    public var covered: LogPosition
    /// Content hash of the last covered segment, to which the next one is chained; zero where no segment is covered.
    public var coveredHash: Digest
    /// The last write that `map` holds; the next one gets the number after it.
    public var coveredWrite: WriteSequence
    /// When that write was applied, by the writer's clock.
    public var coveredTime: Timestamp
    public var map: MapLayout

    public init(
        sizeBytes: UInt64, covered: LogPosition, coveredHash: Digest, coveredWrite: WriteSequence,
        coveredTime: Timestamp, map: MapLayout
    ) {
        self.sizeBytes = sizeBytes
        self.covered = covered
        self.coveredHash = coveredHash
        self.coveredWrite = coveredWrite
        self.coveredTime = coveredTime
        self.map = map
    }

    /// The same contents as the beginning of a new volume: its own log starts from nothing, with epoch 0 and write 0.
    public func startingNewVolume() -> VolumeState {
        VolumeState(
            sizeBytes: sizeBytes, covered: .beginning, coveredHash: .zero, coveredWrite: WriteSequence(0),
            coveredTime: coveredTime, map: map)
    }
}

extension LogPosition {
    /// Before the first segment of the first epoch.
    public static let beginning = LogPosition(epoch: Epoch(0), sequence: SegmentSequence(0))
}

extension VolumeState {
    func encode(into writer: inout ByteWriter) {
        writer.varint(sizeBytes)
        writer.varint(covered.epoch.value)
        writer.varint(covered.sequence.value)
        writer.digest(coveredHash)
        writer.varint(coveredWrite.value)
        writer.timestamp(coveredTime)
        map.encode(into: &writer)
    }
    init(decoding reader: inout ByteReader, object: String) throws(StorageError) {
        sizeBytes = try reader.varint()
        covered = LogPosition(epoch: Epoch(try reader.varint()), sequence: SegmentSequence(try reader.varint()))
        coveredHash = try reader.digest()
        coveredWrite = WriteSequence(try reader.varint())
        coveredTime = try reader.timestamp()
        map = try MapLayout(decoding: &reader, object: object)
        guard sizeBytes <= Limits.volumeBytesMax, sizeBytes % UInt64(blockBytes) == 0 else {
            throw reader.corrupt("a volume of \(sizeBytes) bytes cannot exist")
        }
    }
}
