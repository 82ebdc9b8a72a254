import BlockMap
import Snapshots
import StoreCore
import Synchronization
import Uploader

/// A version of a volume on its way to be pinned: its state is known, its objects may still be uploading.
struct Capture {
    var state: VolumeState
    /// The manifest that the map was taken from: gc must not have raised the volume's floor above it meanwhile.
    var fromManifest: UInt64
    fileprivate var ordinal: UInt64
    fileprivate var runs: [FrozenMemtable]
}

extension Volume {
    /// Seals what was written so far and freezes the map behind it. Writes go on meanwhile; the state holds every write
    /// that was answered before the call.
    func capture() async throws -> Capture {
        try await freezeNow()
        let (layout, frozen, log, number) = state.withLock { ($0.layout, $0.frozen, $0.frozenLog, $0.manifestNumber) }
        var map = layout
        for memtable in frozen {
            map = map.adding(level0: try await memtable.built.value.map(\.reference))
        }
        let state = VolumeState(
            sizeBytes: log.sizeBytes, covered: log.position, coveredHash: log.hash, coveredWrite: log.write,
            coveredTime: log.time, map: map)
        return Capture(state: state, fromManifest: number, ordinal: log.ordinal, runs: frozen)
    }

    /// Returns when all that a capture refers to is in the bucket (R3).
    func waitUntilDurable(_ capture: Capture) async throws {
        let limit = settings.commandDeadline
        try await uploader.waitUntilDurable(capture.ordinal, deadline: limit)
        for memtable in capture.runs { try await value(of: memtable.uploaded, within: limit) }
    }

    private func freezeNow() async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            let result: Result<Void, any Error>? = state.withLock { state in
                if let failure = state.failure { return .failure(failure) }
                if !state.active.isEmpty { sealActive(&state) }
                if let last = state.sealed.last, state.log.position < last.position {
                    last.freezeWaiters.append(continuation)
                    return nil
                }
                freeze(&state)
                return .success(())
            }
            if let result { continuation.resume(with: result) }
        }
    }

    /// Everything written so far becomes part of the manifest: nothing is left to replay. Throws `unavailable` at the
    /// limit, which is a command's unless another is given.
    func checkpointNow() async throws { try await checkpointNow(within: settings.commandDeadline) }
    func checkpointNow(within limit: Duration?) async throws {
        try await freezeNow()
        let target = state.withLock { $0.frozenLog.position }
        let start = context.time.monotonicNanoseconds()
        while true {
            let movements = try state.withLock { state -> UInt64? in
                if let failure = state.failure { throw failure }
                let isPending = state.frozen.contains { $0.log.position <= target }
                return isPending ? state.movements : nil
            }
            guard let movements else { return }
            try await waitForMovement(after: movements, since: start, within: limit)
        }
    }
}
