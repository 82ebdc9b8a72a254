import Journal
import StoreCore
import Synchronization
import Uploader

/// Waiting for room, for a range, for a seal. Whoever must wait read `movements` in the same critical section that sent
/// it here, so no wake-up between the two is missed; all waiters wake and look again.
extension Volume {
    /// Returns after something moved since `movements`: a segment became durable, a range was unlocked, the volume
    /// failed. Throws `unavailable` when the store's deadline, counted from `start`, has passed.
    func waitForMovement(after movements: UInt64, since start: UInt64) async throws {
        try await waitForMovement(after: movements, since: start, within: settings.storeDeadline)
    }
    func waitForMovement(after movements: UInt64, since start: UInt64, within limit: Duration?) async throws {
        try checkDeadline(since: start, limit)
        let alarm = alarm(since: start, limit) { [weak self] in self?.state.withLock { $0.moved() }.resume() }
        defer { alarm?.cancel() }
        await withCheckedContinuation { continuation in
            let mustWait = state.withLock { state in
                guard state.failure == nil, state.movements == movements else { return false }
                state.waiters.append(continuation)
                return true
            }
            if !mustWait { continuation.resume() }
        }
    }

    /// Returns when the journal has room for an entry, or the volume has failed: the caller looks again. Where it is at
    /// its limit, what is active goes to the bucket, because only what is there leaves the journal.
    func waitForJournalRoom(_ entryBytes: Int, since start: UInt64) async throws {
        guard let journal else { return }
        try checkDeadline(since: start, settings.storeDeadline)
        let (number, wait) = try state.withLock { state in
            try checkServing(state)
            if journal.isAtLimit, !state.active.isEmpty { sealActive(&state) }
            state.lastRoomWait += 1
            let wait = Task { try await journal.makeRoom(bytes: entryBytes) }
            state.roomWaits[state.lastRoomWait] = wait
            return (state.lastRoomWait, wait)
        }
        let alarm = alarm(since: start, settings.storeDeadline) { wait.cancel() }
        defer { alarm?.cancel() }
        let result = await withTaskCancellationHandler {
            await wait.result
        } onCancel: {
            wait.cancel()
        }
        try state.withLock { state in
            state.roomWaits[number] = nil
            if let failure = state.failure { throw failure }
        }
        if case .failure(let error) = result {
            try checkDeadline(since: start, settings.storeDeadline)
            guard error.storageCode == .full else { throw error }
            try await waitForDiskSpace(after: error, since: start)
        }
    }

    /// The disk is full: what goes to the bucket leaves the journal, and may make room. Throws where nothing can.
    private func waitForDiskSpace(after error: any Error, since start: UInt64) async throws {
        eventSometimes(.diskFull, "the journal finds no room, writes wait for uploads: \(error)")
        let movements = try state.withLock { state in
            try checkServing(state)
            if !state.active.isEmpty { sealActive(&state) }
            guard !state.sealed.isEmpty else { throw error }
            return state.movements
        }
        try await waitForMovement(after: movements, since: start)
    }

    /// Acts when the deadline has come, so that who waits sees that it has.
    private func alarm(
        since start: UInt64, _ limit: Duration?, _ act: @escaping @Sendable () -> Void
    ) -> Task<Void, Never>? {
        guard let limit else { return nil }
        let passed = context.time.monotonicNanoseconds() - start
        let rest = Int64(clamping: limit.nanosecondCount - min(passed, limit.nanosecondCount))
        return Task { [time = context.time] in
            do { try await time.sleep(for: .nanoseconds(rest)) } catch { return }
            act()
        }
    }
}

/// Tasks to wake once the lock is given back.
struct Waiters {
    fileprivate var continuations: [CheckedContinuation<Void, Never>] = []
    mutating func append(_ continuation: CheckedContinuation<Void, Never>) { continuations.append(continuation) }
    consuming func resume() { for continuation in continuations { continuation.resume() } }
}

extension EngineState {
    /// Something that others wait for has happened: hands out who is to be woken.
    mutating func moved() -> Waiters {
        movements += 1
        defer { waiters = Waiters() }
        return waiters
    }
}

extension Duration {
    var nanosecondCount: UInt64 {
        let (seconds, attoseconds) = components
        return UInt64(max(seconds, 0)) * 1_000_000_000 + UInt64(max(attoseconds, 0) / 1_000_000_000)
    }
}

extension Journal {
    /// Another file would exceed what it may take on disk.
    fileprivate var isAtLimit: Bool { status.bytesOnDisk + limits.fileBytes > limits.bytesMax }
}
