import BlockMap
import StoreCore

/// A write buffer on its way into the bucket: sealed, then encoded as a segment, then durable, then dropped.
/// The volume's lock guards the variables.
final class SealedBuffer: @unchecked Sendable {
    /// Counts this opening's seals from 1, as the uploader counts its uploads.
    let ordinal: UInt64
    let position: LogPosition
    let buffer: WriteBuffer
    /// Of the segment, which the uploader holds until it is durable, beside the buffer, which reads need until then.
    var encodedBytes = 0
    var memoryBytes: Int { buffer.memoryBytes + encodedBytes }
    /// Switch the memtable exactly behind this segment, and tell these.
    var freezeWaiters: [CheckedContinuation<Void, any Error>] = []

    init(ordinal: UInt64, position: LogPosition, buffer: WriteBuffer) {
        self.ordinal = ordinal
        self.position = position
        self.buffer = buffer
    }
}

/// How far the encoded part of the log has come: all that a version needs beside its map.
struct LogState: Sendable {
    var position: LogPosition
    /// Content hash of the segment at `position`: the next one chains to it.
    var hash: Digest
    var write: WriteSequence
    var time: Timestamp
    var sizeBytes: UInt64
    /// The uploader's number of that segment; 0 for what was durable when the volume was opened.
    var ordinal: UInt64
}

/// A memtable that takes no more, on its way to become a run: it holds what the log has behind `start`, up to and
/// including `log`.
final class FrozenMemtable: Sendable {
    let memtable: Memtable
    let start: LogPosition
    let log: LogState
    /// Builds the runs (none when there is nothing to hold, several when it is much), then uploads them. Both begin at
    /// the freeze, so that a snapshot waits for neither longer than it must.
    let built: Task<[SealedRun], any Error>
    let uploaded: Task<Void, any Error>

    init(
        memtable: Memtable, start: LogPosition, log: LogState,
        build: @escaping @Sendable (Memtable) async throws -> [SealedRun],
        upload: @escaping @Sendable (SealedRun) async throws -> Void
    ) {
        self.memtable = memtable
        self.start = start
        self.log = log
        let built = Task { try await build(memtable) }
        self.built = built
        self.uploaded = Task {
            for run in try await built.value { try await upload(run) }
        }
    }
}
