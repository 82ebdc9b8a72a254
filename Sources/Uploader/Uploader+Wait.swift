import StoreCore
import Synchronization

extension Uploader {
    /// Returns when everything up to `number` is durable; `number` may be one that is yet to be submitted.
    ///
    /// Throws `fenced` for ever once another writer's object was met, `cancelled` after `stop` or when the task is
    /// cancelled. At the deadline it throws the last attempt's error where that wants the operator (`denied`, `full`,
    /// `invalid`, `unsupported`), else `unavailable`; the upload goes on, and the caller may wait again.
    public func waitUntilDurable(_ number: UInt64, deadline: Duration? = nil) async throws {
        let id = state.withLock { $0.waiters.makeID() }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in wait(continuation, for: number, id, deadline) }
        } onCancel: {
            state.withLock { $0.waiters.remove(id) }?.resume(with: .failure(CancellationError()))
        }
    }

    private func wait(
        _ continuation: CheckedContinuation<Void, any Error>, for number: UInt64, _ id: UInt64, _ deadline: Duration?
    ) {
        let result = state.withLock { state -> Result<Void, any Error>? in
            if number <= state.queue.frontier { return .success(()) }
            if let ending = state.queue.ending { return .failure(ending) }
            // A cancellation from here on finds the waiter; one before is seen by this check.
            if Task.isCancelled { return .failure(CancellationError()) }
            // The alarm takes this lock before it looks for the waiter, so that it cannot come too early.
            let alarm = deadline.map { startAlarm(id, after: $0) }
            state.waiters.insert(UploadWaiters.Waiter(continuation: continuation, alarm: alarm), for: number, id: id)
            return nil
        }
        if let result { continuation.resume(with: result) }
    }

    private func startAlarm(_ id: UInt64, after deadline: Duration) -> Task<Void, Never> {
        Task { [self] in
            do { try await time.sleep(for: deadline) } catch { return }
            expire(id, deadline)
        }
    }

    private func expire(_ id: UInt64, _ deadline: Duration) {
        let expired = state.withLock { state in state.waiters.remove(id).map { ($0, state.queue.lastError) } }
        guard let (waiter, cause) = expired else { return }
        waiter.resume(with: .failure(Self.timeout(deadline, cause)))
    }

    private static func timeout(_ deadline: Duration, _ cause: StorageError?) -> StorageError {
        let code: ErrorCode =
            switch cause?.code {
            case .denied: .denied
            case .full: .full
            case .invalid: .invalid
            case .unsupported: .unsupported
            default: .unavailable
            }
        return StorageError(code, "the upload did not succeed within \(deadline)", cause: cause)
    }
}
