import Synchronization

/// A request on its way from the task that waits for it to the transfer thread and back. Answered exactly once.
final class CurlTransfer: Sendable {
    private enum Phase {
        case idle
        /// Cancelled before anybody waited.
        case cancelled
        case waiting(CheckedContinuation<HTTPResponse, any Error>)
        case answered
    }

    let request: HTTPRequest
    private let phase = Mutex(Phase.idle)

    init(_ request: HTTPRequest) { self.request = request }

    /// False when it was cancelled before; the waiter has been told.
    func wait(_ continuation: CheckedContinuation<HTTPResponse, any Error>) -> Bool {
        let isWaiting = phase.withLock { phase in
            guard case .idle = phase else { return false }
            phase = .waiting(continuation)
            return true
        }
        if !isWaiting { continuation.resume(throwing: CancellationError()) }
        return isWaiting
    }

    /// Later answers, such as that of a cancelled transfer, are dropped.
    func answer(_ result: Result<HTTPResponse, any Error>) {
        let waiter = phase.withLock { phase -> CheckedContinuation<HTTPResponse, any Error>? in
            defer { phase = .answered }
            guard case .waiting(let continuation) = phase else { return nil }
            return continuation
        }
        waiter?.resume(with: result)
    }

    /// Marks it cancelled. True when somebody waits, so that the transfer thread must be told.
    func cancel() -> Bool {
        phase.withLock { phase in
            switch phase {
            case .idle:
                phase = .cancelled
                return false
            case .waiting: return true
            case .cancelled, .answered: return false
            }
        }
    }
}
