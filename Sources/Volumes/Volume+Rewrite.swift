import BlockMap
import Codec
import StoreCore
import Synchronization

/// Moving a volume's map to another data key.
extension Volume {
    /// Returns when no run of the map is under one of these data keys any more. The compaction task does the work, so
    /// that no two compactions meet. Throws what failed the volume, `cancelled` when it is closed meanwhile.
    func rewriteMap(leaving keys: Set<DataKeyID>) async throws {
        state.withLock { $0.leftKeys = keys }
        compactions.yield()
        let start = context.time.monotonicNanoseconds()
        while true {
            let movements = try state.withLock { state -> UInt64? in
                if let failure = state.failure { throw failure }
                guard state.mustRewriteMap else { return nil }
                guard !state.isClosing else { throw StorageError(.cancelled, "volume \(name) was closed") }
                return state.movements
            }
            guard let movements else { return }
            // Merging a large map takes its time; that is no store which does not answer.
            try await waitForMovement(after: movements, since: start, within: nil)
        }
    }
}

extension EngineState {
    var mustRewriteMap: Bool {
        !leftKeys.isEmpty && layout.allRuns.contains { leftKeys.contains($0.header.keyID) }
    }
}
