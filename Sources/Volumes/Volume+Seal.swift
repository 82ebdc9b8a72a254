import BlockMap
import Cache
import Journal
import SegmentLog
import StoreCore
import Synchronization
import Uploader

/// From the active buffer to a durable segment.
extension Volume {
    /// Ends the active buffer, gives it its place in the log and hands it to the log task. Call with a buffer that is
    /// not empty.
    func sealActive(_ state: inout EngineState) {
        let sealed = SealedBuffer(ordinal: state.nextOrdinal, position: state.nextPosition, buffer: state.active)
        state.nextOrdinal += 1
        state.nextPosition.sequence = state.nextPosition.sequence.next
        state.sealed.append(sealed)
        state.active = WriteBuffer(volumeBytes: state.sizeBytes)
        sealedBuffers.yield(sealed)
    }

    /// The log task's step: segments are encoded in order, because each chains to the one before.
    func encode(_ sealed: SealedBuffer) async {
        do {
            let previous = state.withLock { $0.failure == nil ? $0.log.hash : nil }
            guard let previous else { return }
            let segment = try await context.workers.run { [self] in
                let segment = try encode(sealed.buffer, at: sealed.position, after: previous)
                keepInCache(segment, from: sealed.buffer)
                return segment
            }
            let extents = segment.extents
            let waiters = state.withLock { $0.take(segment, extents, of: sealed, settings, freeze: freeze) }
            let number = uploader.submit(
                key: segment.reference.id.key, bytes: segment.bytes, sha256: segment.objectHash)
            precondition(number == sealed.ordinal, "uploads and seals are counted alike")
            for waiter in waiters { waiter.resume() }
        } catch {
            fail(StorageError(error.storageCode, "volume \(name) cannot encode its log", cause: error))
        }
    }

    private func encode(_ buffer: WriteBuffer, at position: LogPosition, after previous: Digest) throws -> SealedSegment
    {
        guard let firstWrite = buffer.firstWrite, let lastWrite = buffer.lastWrite else {
            preconditionFailure("an empty buffer was sealed")
        }
        var builder = try SegmentBuilder(
            id: .log(volume: id, epoch: position.epoch, sequence: position.sequence), keys: context.keys,
            options: SegmentOptions(recordBlocks: settings.recordBlocks, compressionLevel: settings.compressionLevel),
            expectedBytes: buffer.byteCount)
        try buffer.pieces.forEach { range, piece in
            switch piece {
            case .zero: try builder.appendZeroes(range)
            case .slots(let first):
                try buffer.withBytes(slots: first, count: Int(range.count)) { blocks, bytes in
                    let count = UInt64(bytes.count / blockBytes)
                    try builder.append(BlockRange(first: range.first + blocks, count: count), bytes.bytes)
                }
            }
        }
        return try builder.seal(
            previousHash: previous, firstWrite: firstWrite, lastWrite: lastWrite, firstTime: buffer.firstTime,
            lastTime: buffer.lastTime, volumeBytes: buffer.volumeBytes)
    }

    /// What was just written is likely to be read: it stays in memory when the buffer goes.
    private func keepInCache(_ segment: SealedSegment, from buffer: WriteBuffer) {
        for entry in segment.index.entries {
            guard case .data(let record, 0) = entry.content, UInt64(record.blockCount) == entry.range.count else {
                continue
            }
            context.records.insert(segment.reference, record, buffer.bytes(of: entry.range))
        }
    }

    /// An attempt failed and will be made again.
    func uploadFailed(_ error: StorageError) {
        eventSometimes(
            error.code == .full ? .diskFull : .uploadFailed, "an upload failed and is tried again: \(error)")
    }

    /// The uploader's frontier moved: what is durable leaves the buffers and the journal.
    func becameDurable(upTo ordinal: UInt64) {
        let (waiters, lastWrite) = state.withLock { state -> (Waiters, WriteSequence?) in
            var last: WriteSequence?
            while let first = state.sealed.first, first.ordinal <= ordinal {
                state.bufferedBytes -= first.memoryBytes
                last = first.buffer.lastWrite
                state.sealed.removeFirst()
            }
            return (state.moved(), last)
        }
        if let lastWrite { journal?.release(upTo: lastWrite) }
        waiters.resume()
    }

    /// Segments on their way beyond which age alone seals no further one.
    private static let smallSegmentsMax = 8

    /// One sleeping task a volume bounds how long a write stays out of the bucket; an idle volume has none.
    func armTimer(_ state: inout EngineState) {
        guard !state.isTimerArmed else { return }
        state.isTimerArmed = true
        let ordinal = state.nextOrdinal
        Task { [weak self, time = context.time, delay = settings.uploadDelay] in
            // A cancelled sleep only seals early.
            try? await time.sleep(for: delay)
            self?.timerFired(for: ordinal)
        }
    }
    private func timerFired(for ordinal: UInt64) {
        if let jump = clock.jump(context.time) {
            eventSometimes(
                .clockJumped, "the wall clock was set: it moved by \(jump) against the time that went by")
        }
        state.withLock { state in
            state.isTimerArmed = false
            guard state.failure == nil, !state.active.isEmpty else { return }
            // While the store is away small segments would pile up: what is active gathers on.
            let maySeal = state.nextOrdinal == ordinal && state.sealed.count < Self.smallSegmentsMax
            if maySeal { sealActive(&state) } else { armTimer(&state) }
        }
    }

    /// Ends the volume's service for good: nothing is acknowledged any more, and nobody waits for what will not come:
    /// neither for a segment that is never encoded, nor for room in a journal that is never released.
    func fail(_ error: StorageError) {
        let (isFirst, waiters, freezing, rooms) = state.withLock { state in
            let isFirst = state.failure == nil
            if isFirst { state.failure = error }
            let freezing = state.sealed.flatMap(\.freezeWaiters)
            for sealed in state.sealed { sealed.freezeWaiters = [] }
            return (isFirst, state.moved(), freezing, state.roomWaits)
        }
        if isFirst { announce(error) }
        waiters.resume()
        for waiter in freezing { waiter.resume(throwing: error) }
        for room in rooms.values { room.cancel() }
        Task { [uploader] in await uploader.stop() }
    }
}

extension EngineState {
    /// Takes an encoded segment into the memtable; returns whom to tell that the freeze they asked for is done.
    mutating func take(
        _ segment: SealedSegment, _ extents: [Extent], of sealed: SealedBuffer, _ settings: VolumeSettings,
        freeze: (inout EngineState) -> Void
    ) -> [CheckedContinuation<Void, any Error>] {
        memtable.insert(extents)
        sealed.encodedBytes = segment.bytes.count
        bufferedBytes += sealed.encodedBytes
        log = LogState(
            position: sealed.position, hash: segment.reference.contentHash, write: segment.index.lastWrite,
            time: segment.index.lastTime, sizeBytes: segment.index.volumeBytes, ordinal: sealed.ordinal)
        unfrozenBytes += segment.bytes.count
        unfrozenSegments += 1
        let isDue =
            unfrozenBytes >= settings.checkpointBytes || unfrozenSegments >= settings.checkpointSegments
        if isDue || !sealed.freezeWaiters.isEmpty { freeze(&self) }
        defer { sealed.freezeWaiters = [] }
        return sealed.freezeWaiters
    }
}
