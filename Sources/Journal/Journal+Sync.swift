public import StoreCore
import Synchronization

extension Journal {
    /// Returns when everything up to `sequence` survives the host. One `fdatasync` serves all who wait meanwhile.
    /// Sequences that this generation never took (replayed from an older one) are not its to keep: replay synced them.
    /// Throws `unavailable` for ever once one sync or store has failed.
    public func sync(upTo sequence: WriteSequence) async throws {
        let sequence = try state.withLock { state in
            if let failure = state.failure { throw failure }
            let own = min(sequence, state.appended)
            return own <= state.durable ? nil : own
        }
        guard let sequence else { return }
        switch try await turn(sequence) {
        case .covered: return
        case .lead: try await leadSync()
        }
    }
    /// Everything appended so far, the closing entry included.
    func syncAll() async throws {
        // Beyond any sequence, so that no sync under way covers it.
        if case .lead = try await turn(WriteSequence(.max)) { try await leadSync() }
    }

    private func turn(_ sequence: WriteSequence) async throws -> SyncQueue.Turn {
        try await withCheckedThrowingContinuation { continuation in
            let result: Result<SyncQueue.Turn, any Error>? = state.withLock { state in
                if let failure = state.failure { return .failure(failure) }
                if sequence <= state.durable { return .success(.covered) }
                return state.syncs.enter(sequence, continuation) ? .success(.lead) : nil
            }
            if let result { continuation.resume(with: result) }
        }
    }

    private func leadSync() async throws {
        let (target, files) = state.withLock { state in
            (state.appended, state.used.map(\.file).filter { $0.number >= state.firstUnsyncedFile })
        }
        do {
            // In order: a later file must not survive an earlier one that was not yet complete.
            for file in files { try await file.file.sync() }
        } catch {
            let failure = fail(error)
            throw await noteFailedSync() ?? failure
        }
        let wakeups = try state.withLock { state in
            if let failure = state.failure { throw failure }
            state.durable = max(state.durable, target)
            if let active = files.last { state.firstUnsyncedFile = max(state.firstUnsyncedFile, active.number) }
            return state.syncs.finish(durable: target)
        }
        for waiter in wakeups.covered { waiter.resume(returning: .covered) }
        wakeups.leader?.resume(returning: .lead)
    }

    /// Leaves word for who replays this generation: the kernel counts pages whose writing failed as written, and may
    /// drop them at any time, so that what is read back looks whole and is not, and another sync tells nothing.
    ///
    /// - Returns: the failure, where not even that was possible.
    private func noteFailedSync() async -> StorageError? {
        let last = position.withLock { $0.lastSequence }
        do {
            try await Self.noteFailedSync(in: path, after: last, disk: disk)
            return nil
        } catch {
            return StorageError(
                .unavailable,
                "\(refusal.message), and the disk took no note of it: stop the server in order, a kill may lose writes",
                cause: error)
        }
    }
}
