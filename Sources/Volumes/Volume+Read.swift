import BlockMap
import Cache
import Logging
import SegmentLog
public import StoreCore
import Synchronization

/// Reads look through the layers, newest first, and stop when every hole is filled.
extension Volume {
    public func readNow(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws -> Bool {
        guard isAligned(offset, UInt64(buffer.count)) else { return false }
        var plan = try planRead(BlockRange.touching(byteOffset: offset, byteCount: UInt64(buffer.count)), into: buffer)
        return try plan.finishNow(context, into: buffer)
    }

    public func read(at offset: UInt64, into buffer: IOBuffer) async throws {
        guard isAligned(offset, UInt64(buffer.count)) else {
            return try await readUnaligned(at: offset, into: buffer) { try await self.read(at: $0, into: $1) }
        }
        let range = BlockRange.touching(byteOffset: offset, byteCount: UInt64(buffer.count))
        do {
            try await waitingForStore {
                try await retryingMoved(name, context) {
                    var plan = try buffer.withMutableBytes { try self.planRead(range, into: $0) }
                    try await plan.finish(self.context, into: buffer)
                }
            }
        } catch  where error.storageCode == .corrupt {
            do { try await throwIfFenced(manifests, epoch, context) } catch let error as StorageError {
                fail(error)
                throw error
            }
            eventSometimes(.corruptObject, "a read failed: \(error)")
            throw error
        }
    }

    /// Takes what the buffers hold, and says where the rest lies or which map to ask. One critical section, so that no
    /// block falls between two layers.
    private func planRead(_ range: BlockRange, into buffer: UnsafeMutableRawBufferPointer) throws -> ReadPlan {
        var ahead: BlockRange?
        let plan = try state.withLock { state in
            if let failure = state.failure { throw failure }
            guard range.end.byteOffset <= state.sizeBytes else {
                throw StorageError(.invalid, "\(range) lies beyond the end of \(name)")
            }
            var plan = ReadPlan(range, layout: state.layout)
            plan.take(from: state.active, into: buffer)
            for sealed in state.sealed.reversed() where !plan.holes.isEmpty {
                plan.take(from: sealed.buffer, into: buffer)
            }
            state.locate(&plan)
            let end = BlockIndex(state.sizeBytes / UInt64(blockBytes))
            ahead = state.readAhead.observe(range, end: end)
            return plan
        }
        if let ahead { readAhead(ahead) }
        return plan
    }

    /// A sequential reader finds what follows in the cache. Its errors are met again by the read that needs the data.
    private func readAhead(_ range: BlockRange) {
        Task { [weak self] in
            do { try await self?.prefetch(at: range.byteOffset, count: range.byteCount) } catch {
                self?.context.log.debug("\(self?.name ?? ""): read-ahead failed: \(error)")
            }
        }
    }

    public func prefetch(at offset: UInt64, count: UInt64) async throws {
        let range = BlockRange.touching(byteOffset: offset, byteCount: count)
        try await retryingMoved(name, context) {
            var plan = self.state.withLock { state in
                var plan = ReadPlan(range, layout: state.layout)
                state.locate(&plan)
                return plan
            }
            try await plan.prefetch(self.context)
        }
    }

    public func status(at offset: UInt64, count: UInt64, extentsMax: Int) async throws -> [DeviceExtent] {
        try await deviceStatus(at: offset, count: count, extentsMax: extentsMax) { range in
            try await self.waitingForStore {
                try await retryingMoved(self.name, self.context) { try await self.dataRanges(in: range) }
            }
        }
    }

    /// The stretches of `range` that hold data, ascending.
    private func dataRanges(in range: BlockRange) async throws -> [BlockRange] {
        var data: [BlockRange] = []
        var plan = state.withLock { state in
            var plan = ReadPlan(range, layout: state.layout)
            for buffer in [state.active] + state.sealed.reversed().map(\.buffer) {
                plan.holes = buffer.pieces.fill(plan.holes) { if $1 != .zero { data.append($0) } }
            }
            state.locate(&plan)
            return plan
        }
        try await plan.lookUpHoles(context)
        data += plan.located.filter { $0.mapping != .zero }.map(\.range)
        return data.sorted { $0.first < $1.first }
    }
}

extension EngineState {
    /// Looks through the memtables, newest first.
    func locate(_ plan: inout ReadPlan) {
        plan.locate(in: memtable)
        for frozen in frozen.reversed() where !plan.holes.isEmpty { plan.locate(in: frozen.memtable) }
    }
}
