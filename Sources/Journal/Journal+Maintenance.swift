import Codec
public import StoreCore
import Synchronization

extension Journal {
    /// Everything up to `sequence` is in the bucket: files that hold nothing later are removed, in the background.
    public func release(upTo sequence: WriteSequence) {
        let starts = state.withLock { state in
            state.release(upTo: sequence)
            return state.startMaintenance(limits)
        }
        if starts { startMaintenance() }
    }

    func startMaintenance() { Task { await maintain() } }

    /// Returns when no file is being prepared or removed.
    func maintenanceIsIdle() async {
        await withCheckedContinuation { continuation in
            let isIdle = state.withLock { state in
                if state.isMaintaining { state.idleWaiters.append(continuation) }
                return !state.isMaintaining
            }
            if isIdle { continuation.resume() }
        }
    }

    private func maintain() async {
        while let chore = nextChore() {
            switch chore {
            case .remove(let file): await remove(file)
            case .prepare(let number): await prepare(number)
            }
        }
    }
    private func nextChore() -> JournalState.Chore? {
        let (chore, waiters) = state.withLock { state -> (JournalState.Chore?, [CheckedContinuation<Void, Never>]) in
            if let chore = state.chore(limits) { return (chore, []) }
            state.isMaintaining = false
            defer { state.idleWaiters = [] }
            return (nil, state.idleWaiters)
        }
        for waiter in waiters { waiter.resume() }
        return chore
    }

    /// Durable before the next removal: a crash must not leave a hole between files.
    private func remove(_ file: JournalFile) async {
        do {
            try await disk.remove(file.path)
            try await disk.syncDirectory(path)
            state.withLock { _ = $0.doomed.removeFirst() }
        } catch {
            // Costs room, never data; `status` shows the room and the next release tries again.
            state.withLock { $0.isRemovalStuck = true }
        }
    }
    private func prepare(_ number: UInt64) async {
        let result: Result<Void, any Error>
        do {
            let identity = JournalFormat.identity(volume, token, generation: generation, file: number)
            let file = try await JournalFile.prepare(
                number, cipher: try keys.sealing(.journal, identity: identity), in: path, bytes: limits.fileBytes,
                disk: disk)
            state.withLock { state in
                state.prepared = file
                state.hasPreparationFailed = false
                state.lastFileNumber = number
            }
            result = .success(())
        } catch {
            result = .failure(await preparationFailure(error, number))
        }
        let waiters = state.withLock { state in
            state.wantsNext = false
            if case .failure = result { state.hasPreparationFailed = true }
            return state.takeRoomWaiters()
        }
        for waiter in waiters { waiter.resume(with: result) }
    }
    /// What is left of the attempt goes, so that the next one finds the name free.
    private func preparationFailure(_ error: any Error, _ number: UInt64) async -> StorageError {
        var message = "cannot make room for the journal in \(path)"
        do {
            try await disk.remove("\(path)/\(number.hex)")
        } catch {
            message += " (nor remove what the attempt left: \(error))"
        }
        return StorageError(error.storageCode, message, cause: error)
    }
}
