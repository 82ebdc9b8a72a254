import Logging
import Journal
import StoreCore
import Synchronization
import Uploader

extension Volume {
    public func flush() async throws {
        switch settings.durability {
        case .store: try await flushToStore()
        case .journal: try await flushToJournal()
        }
    }

    private func flushToJournal() async throws {
        guard let journal else { return try await flushToStore() }
        let last = try state.withLock { state in
            if let failure = state.failure { throw failure }
            return WriteSequence(state.nextWrite.value - 1)
        }
        do {
            try await journal.sync(upTo: last)
        } catch {
            // The journal of this generation never acknowledges again; the bucket still can.
            retire(journal, because: error)
            return try await flushToStore()
        }
        try state.withLock { if let failure = $0.failure { throw failure } }
    }

    /// After one failed write or sync a journal is no longer believed: what was written goes to the bucket, and then
    /// the volume ends, so that the next attach opens it with a new one.
    func retire(_ journal: Journal, because error: any Error) {
        let isFirst = state.withLock { state in
            defer { state.isRetiringJournal = true }
            return !state.isRetiringJournal && state.failure == nil
        }
        guard isFirst else { return }
        event(.journalFailed, "the journal \(journal.path) failed, the volume will be opened anew: \(error)")
        Task {
            // However long it takes: the journal is no longer good for what would be given up.
            do { try await flushToStore(within: nil) } catch {
                context.log.error("\(name): not everything was uploaded after the journal failed: \(error)")
            }
            fail(StorageError(.unavailable, "the journal of volume \(name) failed: attach it again", cause: error))
        }
    }

    /// Returns when all that was written before the call is in the bucket. Flushes that come together share a segment:
    /// at most `flushesInFlightMax` are on their way, the rest wait and seal what has gathered by then.
    func flushToStore() async throws { try await flushToStore(within: settings.storeDeadline) }
    func flushToStore(within limit: Duration?) async throws {
        let start = context.time.monotonicNanoseconds()
        let last = state.withLock { WriteSequence($0.nextWrite.value - 1) }
        while true {
            switch try state.withLock({ try flushStep(&$0, last) }) {
            case .done:
                // Nothing is on its way, and yet a writer that is known to be fenced acknowledges nothing (R4).
                if let ending = uploader.ending { throw failure ?? ending }
                return
            case .wait(let ordinal):
                do {
                    return try await uploader.waitUntilDurable(ordinal, deadline: limit)
                } catch {
                    // The uploads end with the volume; why it ended says more.
                    if let failure { throw failure }
                    if let limit, uploader.ending == nil, !Task.isCancelled {
                        throw deadlineError(limit, cause: error)
                    }
                    throw error
                }
            case .gather(let movements): try await waitForMovement(after: movements, since: start, within: limit)
            }
        }
    }

    private enum FlushStep {
        case done
        case wait(UInt64)
        case gather(movements: UInt64)
    }
    private func flushStep(_ state: inout EngineState, _ last: WriteSequence) throws -> FlushStep {
        if let failure = state.failure { throw failure }
        let isInActive = state.active.firstWrite.map { $0 <= last } ?? false
        guard isInActive else {
            // What left `sealed` is durable already.
            let holder = state.sealed.last { ($0.buffer.firstWrite ?? WriteSequence(.max)) <= last }
            return holder.map { .wait($0.ordinal) } ?? .done
        }
        guard state.sealed.count < settings.flushesInFlightMax else { return .gather(movements: state.movements) }
        sealActive(&state)
        return .wait(state.nextOrdinal - 1)
    }

    func lockRange(_ range: BlockRange) async throws -> RangeLocks.ID {
        let start = context.time.monotonicNanoseconds()
        while true {
            let (lock, movements) = try state.withLock { state in
                try checkServing(state)
                return (state.locks.acquire(range), state.movements)
            }
            if let lock { return lock }
            try await waitForMovement(after: movements, since: start)
        }
    }
    func unlockRange(_ lock: RangeLocks.ID) {
        state.withLock { state in
            state.locks.release(lock)
            return state.moved()
        }.resume()
    }
}
