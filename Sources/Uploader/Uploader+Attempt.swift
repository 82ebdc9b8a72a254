import ObjectStorage
import StoreCore
import Synchronization

/// What the queue decides, done.
extension Uploader {
    func perform(_ actions: [UploadQueue.Action]) {
        for action in actions {
            switch action {
            case .attempt(let number, let isRetry):
                slots.acquire(isRetry: isRetry) { [self] in start(number) }
            case .rest(let number, let delay): rest(number, delay)
            case .advance, .end: announce()
            }
        }
    }

    private func start(_ number: UInt64) {
        state.withLock { $0.running[number] = Task { await attempt(number) } }
    }

    /// One attempt; holds a slot.
    private func attempt(_ number: UInt64) async {
        let (found, isRetry) = state.withLock { state -> (Object?, Bool) in
            guard state.queue.begin(number) else { return (nil, false) }
            state.attempts += 1
            return (state.objects[number], state.queue.failures(of: number) > 0)
        }
        guard let object = found else {
            state.withLock { $0.running[number] = nil }
            return slots.release()
        }
        let result = await create(object, isRetry: isRetry)
        slots.release()
        if case .failed(let error) = result {
            // What was broken off by a stop is no failure.
            let handlers = state.withLock { $0.queue.ending == nil ? $0.failureHandlers : [] }
            for handler in handlers { handler(error) }
        }
        let (actions, stopping) = state.withLock { state in
            state.attempts -= 1
            state.running[number] = nil
            defer { if state.attempts == 0 { state.stopping = [] } }
            return (state.take(result, of: number), state.attempts == 0 ? state.stopping : [])
        }
        perform(actions)
        for continuation in stopping { continuation.resume() }
    }

    enum Outcome {
        case durable
        case foreign(StorageError)
        case failed(StorageError)
    }

    private func create(_ object: Object, isRetry: Bool) async -> Outcome {
        let began = time.bootNanoseconds()
        do {
            let outcome: Outcome
            switch try await store.create(object.key, object.bytes, sha256: object.sha256) {
            case .created: outcome = .durable
            case .exists: outcome = try await examine(object)
            }
            let took = Duration.nanoseconds(Int64(clamping: time.bootNanoseconds() - began))
            guard case .durable = outcome, isRetry || took > Self.doubtAfter else { return outcome }
            return try await confirmed()
        } catch {
            return .failed(error.asStorageError)
        }
    }

    /// A writer that was away for long may have created anew what its successor had read, covered and given up: the
    /// place was free again, and proves nothing (R4).
    private func confirmed() async throws -> Outcome {
        do {
            try await confirm()
            return .durable
        } catch  where error.storageCode == .fenced {
            return .foreign(error.asStorageError)
        }
    }

    /// Something lies in the object's place. Its own bytes: an earlier attempt of unknown outcome had succeeded.
    private func examine(_ object: Object) async throws -> Outcome {
        guard let found = try await store.head(object.key) else {
            return .failed(StorageError(.unavailable, "object \(object.key) was there and is gone"))
        }
        let isOfSameSize = found.byteCount == UInt64(object.bytes.count)
        if isOfSameSize, try await store.get(object.key) == object.bytes { return .durable }
        return .foreign(
            StorageError(
                .fenced,
                "another writer owns the volume: object \(object.key) is not this one's; nothing more is acknowledged"))
    }

    private func rest(_ number: UInt64, _ delay: Duration) {
        state.withLock { state in
            guard state.queue.ending == nil else { return }
            state.resting[number] = Task { [self] in
                do { try await time.sleep(for: delay) } catch { return }
                let actions = self.state.withLock { state in
                    state.resting[number] = nil
                    return state.queue.rested(number)
                }
                perform(actions)
            }
        }
    }

    /// Breaks all attempts off for good: waiters get `cancelled`, and it returns when none is under way any more. What
    /// was submitted and not yet acknowledged may be in the store or not.
    public func stop() async {
        let (actions, running) = state.withLock { ($0.queue.stop(), $0.running.values) }
        perform(actions)
        for attempt in running { attempt.cancel() }
        await withCheckedContinuation { continuation in
            let isIdle = state.withLock { state in
                if state.attempts > 0 { state.stopping.append(continuation) }
                return state.attempts == 0
            }
            if isIdle { continuation.resume() }
        }
    }
}

extension Uploader.State {
    mutating func take(_ outcome: Uploader.Outcome, of number: UInt64) -> [UploadQueue.Action] {
        switch outcome {
        case .durable:
            objects[number] = nil
            return queue.succeeded(number)
        case .failed(let error): return queue.failed(number, error)
        case .foreign(let error): return queue.fenced(error)
        }
    }
}

extension Error {
    var asStorageError: StorageError {
        self as? StorageError ?? StorageError(storageCode, "the upload failed", cause: self)
    }
}
