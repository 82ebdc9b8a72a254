public import StoreCore
import Synchronization

extension Journal {
    /// Appends an entry: seals it into the page cache, without waiting and without a sync.
    ///
    /// The caller holds the volume's ordering lock: calls come one at a time, with ascending sequences. When this
    /// returns true, the entry survives the process; false when there is no prepared room: nothing happened, and the
    /// caller awaits `makeRoom` and tries again.
    /// Throws `unavailable` once the journal failed or was closed, `invalid` for a write larger than a file takes.
    public func appendNow(_ sequence: WriteSequence, _ operation: JournalAppend) throws -> Bool {
        guard isUsable.load(ordering: .acquiring) else { throw refusal }
        let bytes = operation.entryBytes
        try checkFits(bytes)
        let now = time.now()
        return try position.withLock { position in
            // Again, in the lock: nothing is taken behind what `noteFailedSync` counts.
            guard isUsable.load(ordering: .acquiring) else { throw refusal }
            precondition(sequence > position.lastSequence, "write sequences ascend")
            do {
                if !position.hasRoom(for: bytes) {
                    guard let next = takePrepared() else { return false }
                    try position.move(to: next, time: now)
                }
                try position.append(operation.head(sequence, now), operation.payload)
            } catch {
                throw fail(error)
            }
            noteAppended(sequence, now, bytes: bytes, isFilling: !position.hasRoom(for: limits.fileBytes / 2))
            return true
        }
    }

    /// Waits until an entry of this many bytes (`JournalAppend.entryBytes`) can probably be appended. At `bytesMax`
    /// that takes a `release`: the caller must see to it that what is in the journal gets uploaded.
    /// Throws `full` where the disk is full, `cancelled` with its task, `unavailable` once the journal failed or
    /// closed.
    public func makeRoom(bytes: Int) async throws {
        try checkFits(bytes)
        if position.withLock({ $0.hasRoom(for: bytes) }) { return }
        let number = state.withLock { state in
            state.lastWaiter += 1
            return state.lastWaiter
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { waitForRoom(number, $0) }
        } onCancel: {
            cancelWait(number)
        }
    }
    private func cancelWait(_ number: UInt64) {
        let waiter = state.withLock { $0.roomWaiters.removeValue(forKey: number) }
        waiter?.resume(throwing: CancellationError())
    }
    private func waitForRoom(_ number: UInt64, _ continuation: CheckedContinuation<Void, any Error>) {
        guard isUsable.load(ordering: .acquiring) else { return continuation.resume(throwing: refusal) }
        let (isRoom, starts) = state.withLock { state in
            guard state.prepared == nil else { return (true, false) }
            state.roomWaiters[number] = continuation
            state.wantsNext = true
            return (false, state.startMaintenance(limits))
        }
        if isRoom { return continuation.resume() }
        if starts { startMaintenance() }
        // Closed, failed or cancelled before this wait was entered: then nobody else wakes it.
        if !isUsable.load(ordering: .acquiring) {
            state.withLock { $0.roomWaiters.removeValue(forKey: number) }?.resume(throwing: refusal)
        }
        if Task.isCancelled { cancelWait(number) }
    }

    private func checkFits(_ bytes: Int) throws {
        guard bytes <= limits.payloadBytesMax + JournalFormat.entryBytes(payload: 0) else {
            throw StorageError(
                .invalid, "a write of \(bytes) bytes exceeds the journal's limit of \(limits.payloadBytesMax)")
        }
    }
    private func takePrepared() -> JournalFile? {
        let (next, starts) = state.withLock { state in
            let next = state.takePrepared()
            state.wantsNext = next == nil
            return (next, state.startMaintenance(limits))
        }
        if starts { startMaintenance() }
        return next
    }
    /// - Parameter isFilling: the active file is half full: time to prepare the next.
    private func noteAppended(_ sequence: WriteSequence, _ time: Timestamp, bytes: Int, isFilling: Bool) {
        let starts = state.withLock { state in
            state.noteAppended(sequence, time, bytes: bytes)
            guard isFilling, state.prepared == nil, !state.wantsNext, !state.hasPreparationFailed else { return false }
            state.wantsNext = true
            return state.startMaintenance(limits)
        }
        if starts { startMaintenance() }
    }
}
