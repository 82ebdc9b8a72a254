import Synchronization

/// Which directories are known to be synced into the ones above them, so that a creation syncs only new ones.
///
/// A directory that is pruned is forgotten before it is removed: a creation that finds it known after it linked its
/// object there did so in that very directory, because pruning would have failed on the object.
final class DurableNames: Sendable {
    /// Beyond it everything is forgotten, which costs only syncs.
    private static let knownMax = 1 << 16
    private struct State {
        var known: Set<String> = []
        var prunings: UInt64 = 0
    }
    private let state = Mutex(State())

    func contains(_ folder: String) -> Bool { state.withLock { $0.known.contains(folder) } }

    /// Read before syncing, and given to `insert`: what was pruned meanwhile must not become known again.
    var prunings: UInt64 { state.withLock { $0.prunings } }

    func insert(_ folder: String, ifPrunings expected: UInt64) {
        state.withLock { state in
            guard state.prunings == expected else { return }
            if state.known.count >= Self.knownMax { state.known.removeAll() }
            state.known.insert(folder)
        }
    }
    func forget(_ folder: String) {
        state.withLock { state in
            state.known.remove(folder)
            state.prunings += 1
        }
    }
}
