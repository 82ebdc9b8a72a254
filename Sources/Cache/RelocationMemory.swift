import SegmentLog
import StoreCore
import Synchronization

/// The relocations used last, so that a repacked segment is asked for once and not by each read. A relocation never
/// changes once it exists; that there is none may change, and is not remembered.
final class RelocationMemory: Sendable {
    private struct State {
        var known: [SegmentReference: Relocation] = [:]
        var order: [SegmentReference] = []
    }
    private let countMax: Int
    private let lookUp: @Sendable (SegmentReference) async throws -> Relocation?
    private let state = Mutex(State())

    init(countMax: Int, lookUp: @escaping @Sendable (SegmentReference) async throws -> Relocation?) {
        self.countMax = max(countMax, 1)
        self.lookUp = lookUp
    }

    func known(_ segment: SegmentReference) -> Relocation? { state.withLock { $0.known[segment] } }

    func find(_ segment: SegmentReference) async throws -> Relocation? {
        if let known = known(segment) { return known }
        guard let found = try await lookUp(segment) else { return nil }
        state.withLock { state in
            guard state.known.updateValue(found, forKey: segment) == nil else { return }
            state.order.append(segment)
            if state.order.count > countMax { state.known.removeValue(forKey: state.order.removeFirst()) }
        }
        return found
    }
}
