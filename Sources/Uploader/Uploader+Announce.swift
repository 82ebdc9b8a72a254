import StoreCore
import Synchronization

/// Tells handlers and waiters how far the uploads are.
extension Uploader {
    private enum News {
        case advanced(UInt64, [@Sendable (UInt64) -> Void])
        case ended(StorageError, [@Sendable (StorageError) -> Void])
    }

    /// One caller at a time tells, and goes on until there is no more to tell: so handlers see the frontier in order
    /// though attempts end on many threads.
    func announce() {
        guard state.withLock({ $0.beginAnnouncing() }) else { return }
        while let news = state.withLock({ nextNews(&$0) }) {
            switch news {
            case .advanced(let frontier, let handlers):
                for handler in handlers { handler(frontier) }
                let waiters = state.withLock { $0.waiters.removeReached(by: frontier) }
                for waiter in waiters { waiter.resume(with: .success(())) }
            case .ended(let error, let handlers):
                let (waiters, resting) = state.withLock { $0.removeAll() }
                for task in resting { task.cancel() }
                for handler in handlers { handler(error) }
                for waiter in waiters { waiter.resume(with: .failure(error)) }
            }
        }
    }

    private func nextNews(_ state: inout State) -> News? {
        if state.announced < state.queue.frontier {
            state.announced = state.queue.frontier
            return .advanced(state.announced, state.handlers)
        }
        if let ending = state.queue.ending, !state.isEndAnnounced {
            state.isEndAnnounced = true
            defer { state.endHandlers = [] }
            return .ended(ending, state.endHandlers)
        }
        state.isAnnouncing = false
        return nil
    }
}

extension Uploader.State {
    /// False where someone is telling already, who will see the news.
    fileprivate mutating func beginAnnouncing() -> Bool {
        defer { isAnnouncing = true }
        return !isAnnouncing
    }
    fileprivate mutating func removeAll() -> ([UploadWaiters.Waiter], [Task<Void, Never>]) {
        defer {
            objects = [:]
            resting = [:]
        }
        return (waiters.removeAll(), Array(resting.values))
    }
}
