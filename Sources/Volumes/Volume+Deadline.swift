import Logging
import StoreCore
import Synchronization
import Uploader

/// How long a client's request, or a command, waits for a store that does not answer. A request that is given up fails
/// with an error and promises nothing; the volume goes on, and so do its uploads.
extension VolumeSettings {
    /// A person, or a job that will be run again, waits for a command: it does not wait for ever.
    var commandDeadline: Duration { storeDeadline ?? .seconds(60) }
    /// What is left at the end is in the journal, so a server that is told to stop need not wait for ever either. nil
    /// where nothing else holds it.
    var closeDeadline: Duration? { isJournaled ? storeDeadline ?? .seconds(30) : storeDeadline }
}

extension Volume {
    /// Throws when a request that began at `start` has waited for the store for as long as it may.
    func checkDeadline(since start: UInt64, _ limit: Duration?) throws {
        guard let limit, context.time.monotonicNanoseconds() - start >= limit.nanosecondCount else { return }
        throw deadlineError(limit)
    }

    /// The answer to who waited for too long, told to the operator as well.
    func deadlineError(_ limit: Duration, cause: (any Error)? = nil) -> StorageError {
        let cause = cause ?? uploader.status.lastError
        // What wants the operator keeps its code: a full store is ENOSPC to the client.
        let code = cause.map(\.storageCode).flatMap { [.full, .denied].contains($0) ? $0 : nil } ?? .unavailable
        let seconds = Double(limit.nanosecondCount) / 1e9
        let error = StorageError(
            code, "volume \(name): the store did not answer within \(seconds) s; trying again may help", cause: cause)
        eventSometimes(.deadlinePassed, "a request was answered with an error: \(error)")
        return error
    }

    /// Waits for what does not end by itself when its waiter does. At the limit it throws, and `task` goes on.
    func value<R: Sendable>(of task: Task<R, any Error>, within limit: Duration?) async throws -> R {
        guard let limit else { return try await task.value }
        let race = Race<R>()
        return try await withCheckedThrowingContinuation { continuation in
            race.start(continuation)
            let alarm = Task { [self] in
                do { try await context.time.sleep(for: limit) } catch { return }
                guard race.isOpen else { return }
                race.finish(.failure(deadlineError(limit)))
            }
            Task {
                let result = await task.result
                alarm.cancel()
                race.finish(result)
            }
        }
    }

    /// Repeats a read while the store does not answer, until it does, the deadline has passed, the volume has failed,
    /// or the client is gone.
    func waitingForStore<R>(_ body: () async throws -> R) async throws -> R {
        try await repeating(until: settings.storeDeadline, on: [.unavailable], context.time, body) { error in
            if let failure { throw failure }
            context.log.debug("\(name): a read waits for the store: \(error)")
        } expired: {
            deadlineError($0, cause: $1)
        }
    }
}

/// Calls `body` again while it throws what waiting may mend, with growing pauses.
///
/// - Parameters:
///   - codes: what waiting may mend.
///   - limit: nil repeats for ever.
///   - retrying: called before each pause; what it throws ends the repetition.
func repeating<R>(
    until limit: Duration?, on codes: [ErrorCode], _ time: any TimeSource, _ body: () async throws -> R,
    retrying: (StorageError) throws -> Void, expired: (Duration, StorageError) -> StorageError
) async throws -> R {
    let start = time.monotonicNanoseconds()
    var delay = Duration.milliseconds(250)
    while true {
        do { return try await body() } catch let error as StorageError
            where codes.contains(error.code)
        {
            try retrying(error)
            var pause = delay
            if let limit {
                let passed = time.monotonicNanoseconds() - start
                guard passed < limit.nanosecondCount else { throw expired(limit, error) }
                pause = min(pause, .nanoseconds(Int64(limit.nanosecondCount - passed)))
            }
            try await time.sleep(for: pause)
            delay = min(delay * 2, .seconds(10))
        }
    }
}

/// Who comes first resumes the waiter; who comes later changes nothing.
private final class Race<R: Sendable>: Sendable {
    private let waiter = Mutex<CheckedContinuation<R, any Error>?>(nil)

    var isOpen: Bool { waiter.withLock { $0 != nil } }
    func start(_ continuation: CheckedContinuation<R, any Error>) { waiter.withLock { $0 = continuation } }
    func finish(_ result: Result<R, any Error>) {
        let continuation = waiter.withLock { waiter in
            defer { waiter = nil }
            return waiter
        }
        continuation?.resume(with: result)
    }
}
