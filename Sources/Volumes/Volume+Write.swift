import BlockMap
import Journal
public import StoreCore
import Synchronization

enum ApplyOutcome {
    case applied(WriteSequence)
    /// The write buffer or a range is taken: wait until something moved.
    case mustWait(movements: UInt64)
    /// The journal has no room prepared.
    case journalIsFull(entryBytes: Int)
}

extension Volume {
    /// A longer write is applied in pieces of this size, each whole.
    static let pieceBytesMax = 1 << 20
    /// Writes wait for the checkpoints to catch up.
    static let frozenMemtablesMax = 8

    public func writeNow(at offset: UInt64, from bytes: UnsafeRawBufferPointer) throws -> Bool {
        guard isAligned(offset, UInt64(bytes.count)), bytes.count <= Self.pieceBytesMax else { return false }
        let range = BlockRange.touching(byteOffset: offset, byteCount: UInt64(bytes.count))
        guard case .applied = try apply(.write(range, bytes), holding: nil) else { return false }
        return true
    }

    public func write(at offset: UInt64, from buffer: IOBuffer, fua: Bool) async throws {
        guard isAligned(offset, UInt64(buffer.count)) else {
            try await writeUnaligned(at: offset, count: UInt64(buffer.count)) { part, target in
                buffer.withBytes { bytes in
                    target.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[part]))
                }
            }
            if fua { try await flush() }
            return
        }
        var done = 0
        while done < buffer.count {
            let part = done..<min(done + Self.pieceBytesMax, buffer.count)
            let range = BlockRange.touching(byteOffset: offset + UInt64(done), byteCount: UInt64(part.count))
            try await applyWaiting {
                try buffer.withBytes { bytes in
                    try self.apply(.write(range, UnsafeRawBufferPointer(rebasing: bytes[part])), holding: nil)
                }
            }
            done = part.upperBound
        }
        if fua { try await flush() }
    }

    public func trim(at offset: UInt64, count: UInt64, fua: Bool) async throws {
        try await writeZeroes(at: offset, count: count, fua: fua)
    }

    public func writeZeroes(at offset: UInt64, count: UInt64, fua: Bool) async throws {
        let from = (offset + UInt64(blockBytes) - 1) / UInt64(blockBytes) * UInt64(blockBytes)
        let to = (offset + count) / UInt64(blockBytes) * UInt64(blockBytes)
        if from < to {
            try await zeroEdge(from: offset, to: from)
            try await applyZeroes(BlockRange.touching(byteOffset: from, byteCount: to - from), holding: nil)
            try await zeroEdge(from: to, to: offset + count)
        } else {
            try await zeroEdge(from: offset, to: offset + count)
        }
        if fua { try await flush() }
    }

    private func zeroEdge(from: UInt64, to: UInt64) async throws {
        guard from < to else { return }
        try await writeUnaligned(at: from, count: to - from) { _, target in
            target.initializeMemory(as: UInt8.self, repeating: 0)
        }
    }

    /// Reads the touched blocks, merges and rewrites them, a piece at a time, each under a range lock, for which
    /// aligned writes to that range wait too.
    private func writeUnaligned(
        at offset: UInt64, count: UInt64, merge: @Sendable (Range<Int>, UnsafeMutableRawBufferPointer) -> Void
    ) async throws {
        var done: UInt64 = 0
        while done < count {
            let at = offset + done
            let part = min(count - done, UInt64(Self.pieceBytesMax) - at % UInt64(blockBytes))
            try await rewrite(at: at, count: Int(part)) { target in
                merge(Int(done)..<Int(done + part), target)
            }
            done += part
        }
    }

    private func rewrite(at offset: UInt64, count: Int, merge: (UnsafeMutableRawBufferPointer) -> Void) async throws {
        let range = BlockRange.touching(byteOffset: offset, byteCount: UInt64(count))
        let lock = try await lockRange(range)
        defer { unlockRange(lock) }
        let blocks = IOBuffer(count: Int(range.byteCount))
        try await read(at: range.byteOffset, into: blocks)
        let from = Int(offset - range.byteOffset)
        blocks.withMutableBytes { merge(UnsafeMutableRawBufferPointer(rebasing: $0[from..<from + count])) }
        try await applyWaiting {
            try blocks.withBytes { try self.apply(.write(range, $0), holding: lock) }
        }
    }

    private func applyZeroes(_ range: BlockRange, holding lock: RangeLocks.ID?) async throws {
        try await applyWaiting { try self.apply(.zero(range), holding: lock) }
    }

    /// Changes the size; growing shows zeroes, and shrinking writes zeroes beyond the new end, so that growing again
    /// shows no old data. Durable when it returns. Throws `invalid` for a size that is no multiple of 4096.
    public func resize(to bytes: UInt64) async throws {
        guard bytes > 0, bytes <= Limits.volumeBytesMax, bytes % UInt64(blockBytes) == 0 else {
            throw StorageError(
                .invalid, "a volume's size is a multiple of 4096 up to \(ByteSize.format(Limits.volumeBytesMax))")
        }
        try await applyResize(to: bytes)
        try await flushToStore()
    }
    /// The lock keeps writes out of what is cut off, and other resizes out altogether, until the size has changed: what
    /// came in between the zeroes and the cut would show again when the volume grows.
    private func applyResize(to bytes: UInt64) async throws {
        let beyond = BlockIndex(Limits.volumeBytesMax / UInt64(blockBytes) + 1)
        let lock = try await lockRange(BlockRange(BlockIndex(bytes / UInt64(blockBytes)), upTo: beyond))
        defer { unlockRange(lock) }
        let old = size
        if bytes < old {
            try await applyZeroes(BlockRange.touching(byteOffset: bytes, byteCount: old - bytes), holding: lock)
        }
        try await applyWaiting { try self.apply(.resize(bytes), holding: lock) }
    }

    /// Repeats `attempt` until it was applied, waiting in between for what stood in its way.
    func applyWaiting(_ attempt: () throws -> ApplyOutcome) async throws {
        let start = context.time.monotonicNanoseconds()
        while true {
            switch try attempt() {
            case .applied: return
            case .journalIsFull(let entryBytes):
                try await waitForJournalRoom(entryBytes, since: start)
            case .mustWait(let movements):
                try await waitForMovement(after: movements, since: start)
            }
        }
    }

    /// The one place where a volume's contents change.
    func apply(
        _ change: JournalAppend, holding lock: RangeLocks.ID?, replaying: Bool = false
    ) throws -> ApplyOutcome {
        do {
            return try state.withLock { state in try apply(change, to: &state, holding: lock, replaying: replaying) }
        } catch  where journal?.hasFailed ?? false {
            if let journal { retire(journal, because: error) }
            throw error
        }
    }
    private func apply(
        _ change: JournalAppend, to state: inout EngineState, holding lock: RangeLocks.ID?, replaying: Bool
    ) throws -> ApplyOutcome {
        try checkServing(state)
        if let range = change.range {
            guard range.end.byteOffset <= state.sizeBytes else {
                throw StorageError(.invalid, "\(range) lies beyond the end of \(name)")
            }
            guard !state.locks.conflicts(with: range, except: lock) else {
                return .mustWait(movements: state.movements)
            }
        }
        let hasRoom =
            state.bufferedBytes == 0 || state.bufferedBytes + change.memoryBytes <= settings.writeBufferBytes
        guard hasRoom, state.frozen.count < Self.frozenMemtablesMax else {
            // Where what is active leaves no room by itself, uploads make none either.
            if !state.active.isEmpty, state.active.memoryBytes + change.memoryBytes > settings.writeBufferBytes {
                sealActive(&state)
            }
            return .mustWait(movements: state.movements)
        }
        let sequence = state.nextWrite
        // A replayed change stays in the journal that it came from.
        if let journal, !replaying {
            guard try journal.appendNow(sequence, change) else {
                return .journalIsFull(entryBytes: change.entryBytes)
            }
        }
        state.nextWrite = sequence.next
        state.add(change, sequence, at: context.time.now())
        if state.active.isFull(at: settings.segmentBytes) { sealActive(&state) } else { armTimer(&state) }
        return .applied(sequence)
    }

    func checkServing(_ state: EngineState) throws {
        if let failure = state.failure { throw failure }
        if state.isClosing { throw StorageError(.cancelled, "volume \(name) is being closed") }
    }
}

extension JournalAppend {
    /// The blocks that it changes; nil for a resize, which changes none.
    var range: BlockRange? {
        switch self {
        case .write(let range, _), .zero(let range): range
        case .resize: nil
        }
    }
    /// Memory of the write buffer that it takes at most.
    var memoryBytes: Int {
        if case .write(_, let bytes) = self { return bytes.count + WriteBuffer.pieceBytes }
        return WriteBuffer.pieceBytes
    }
}

extension EngineState {
    /// Adds a change to the active buffer and stamps it.
    mutating func add(_ change: JournalAppend, _ sequence: WriteSequence, at time: Timestamp) {
        let before = active.memoryBytes
        switch change {
        case .write(let range, let bytes): active.put(range, bytes)
        case .zero(let range): active.putZeroes(range)
        case .resize(let bytes):
            sizeBytes = bytes
            active.volumeBytes = bytes
        }
        active.stamp(sequence, at: time)
        bufferedBytes += active.memoryBytes - before
    }
}
