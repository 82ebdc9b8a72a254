public import Codec
public import ObjectStorage
public import StoreCore

/// A place in a volume's log together with what the next segment must continue.
public struct LogCursor: Hashable, Sendable {
    public var position: LogPosition
    /// Content hash of the segment at `position`, or of the last one before it; zero before the first.
    public var hash: Digest
    /// The last write that the log holds up to here; 0 before the first.
    public var lastWrite: WriteSequence

    public init(position: LogPosition, hash: Digest, lastWrite: WriteSequence) {
        self.position = position
        self.hash = hash
        self.lastWrite = lastWrite
    }

    /// Moves past a segment. Throws `corrupt` unless it is the one that was written after the segment here.
    mutating func advance(
        past segment: SegmentReference, _ index: SegmentIndex, at position: LogPosition
    ) throws(StorageError) {
        guard index.previousHash == hash else {
            throw .corrupt(
                segment.id.key.text, "it does not follow the segment before it", expected: "\(hash)",
                actual: "\(index.previousHash)")
        }
        guard index.firstWrite > lastWrite else {
            throw .corrupt(
                segment.id.key.text, "it repeats writes of the segment before it",
                expected: "a write after \(lastWrite)", actual: "\(index.firstWrite)")
        }
        self.position = position
        hash = segment.contentHash
        lastWrite = index.lastWrite
    }
}

/// Where a closed epoch's log ends.
public struct EpochEnd: Hashable, Sendable {
    public var epoch: Epoch
    /// The last segment before the fence; 0 where there is none.
    public var end: SegmentSequence
    public init(epoch: Epoch, end: SegmentSequence) {
        self.epoch = epoch
        self.end = end
    }
}

extension EpochLog {
    /// Segments fetched ahead. A tail may be hundreds of small ones, each of which costs a round trip; all of it is
    /// what checkpoints leave behind. Only a bucket in hostile hands can make each `Limits.segmentObjectBytesMax` long.
    public static let prefetchDefault = 16

    /// Reads the segments after `start` up to each epoch's end and hands them over in order, each checked whole:
    /// content hash, index, its link to the segment before, and write sequences that go on. Throws `corrupt`, which
    /// names the object, where one is missing or does not fit; what was handed over before is right nevertheless.
    ///
    /// - Parameters:
    ///   - ends: ascending by epoch, from the epoch of `start` or a later one.
    ///   - body: called for one segment at a time.
    /// - Returns: the end: what the volume's next segment must continue.
    public static func tail(
        of volume: VolumeID, from start: LogCursor, through ends: [EpochEnd], store: any ObjectStore, keys: KeyRing,
        prefetch: Int = prefetchDefault, _ body: (SegmentReference, SegmentIndex) async throws -> Void
    ) async throws -> LogCursor {
        var cursor = start
        let slots = try positions(after: start.position, through: ends, of: volume)
        let fetch = { @Sendable (slot: LogPosition) in try await object(at: slot, of: volume, store: store) }
        try await withPrefetch(slots, countMax: prefetch, fetch) { slot, object in
            let id = SegmentID.log(volume: volume, epoch: slot.epoch, sequence: slot.sequence)
            let (segment, index) = try SegmentReader.open(object, id: id, keys: keys)
            try cursor.advance(past: segment, index, at: slot)
            try await body(segment, index)
        }
        if let last = ends.last { cursor.position = LogPosition(epoch: last.epoch, sequence: last.end) }
        return cursor
    }

    private static func positions(
        after start: LogPosition, through ends: [EpochEnd], of volume: VolumeID
    ) throws(StorageError) -> [LogPosition] {
        var positions: [LogPosition] = []
        var last = start
        for (number, end) in ends.enumerated() {
            let target = LogPosition(epoch: end.epoch, sequence: end.end)
            let isLater = end.epoch > last.epoch
            guard isLater || (number == 0 && target >= last) else {
                throw StorageError(.corrupt, "the log of volume \(volume) ends at \(target), before \(last)")
            }
            let first = isLater ? 1 : last.sequence.value + 1
            if first <= end.end.value {
                positions += (first...end.end.value).map {
                    LogPosition(epoch: end.epoch, sequence: SegmentSequence($0))
                }
            }
            last = target
        }
        return positions
    }

    private static func object(
        at slot: LogPosition, of volume: VolumeID, store: any ObjectStore
    ) async throws -> [UInt8] {
        let key = SegmentID.log(volume: volume, epoch: slot.epoch, sequence: slot.sequence).key
        do {
            // The range bounds the memory, whatever lies there.
            return try await store.get(key, range: 0..<UInt64(Limits.segmentObjectBytesMax) + 1)
        } catch let error as StorageError where error.code == .notFound {
            throw StorageError(.corrupt, "object \(key) of the volume's log is missing", cause: error)
        } catch let error as StorageError where error.code == .invalid {
            throw StorageError(.corrupt, "object \(key) is damaged: it is empty", cause: error)
        }
    }
}
