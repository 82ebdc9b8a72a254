import BlockMap
import SegmentLog
import Snapshots
public import StoreCore
import Synchronization

/// A pinned version as a read-only block device: `pg-prod@monday`. Its contents never change; the map that says where
/// they lie may be exchanged for an equal one (`Engine.rewriteKeys`). The mutex guards which is known here.
public final class SnapshotDevice: BlockDevice {
    let id: SnapshotID
    public let name: String
    public let summary: String
    public let size: UInt64
    public let isReadOnly = true
    private let layout: Mutex<MapLayout>
    private let newestLayout: @Sendable () async throws -> MapLayout
    private let context: VolumeContext
    /// How long a read waits for a store that does not answer; nil waits for ever.
    private let deadline: Duration?
    private let rate = EventRate()

    /// - Parameter newestLayout: asked when an object of the known one is gone.
    init(
        id: SnapshotID, name: String, size: UInt64, layout: MapLayout, context: VolumeContext, deadline: Duration?,
        newestLayout: @escaping @Sendable () async throws -> MapLayout
    ) {
        self.id = id
        self.name = name
        self.summary = "zerofs snapshot \(name)"
        self.size = size
        self.layout = Mutex(layout)
        self.newestLayout = newestLayout
        self.deadline = deadline
        self.context = context
    }

    public func readNow(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws -> Bool {
        guard isAligned(offset, UInt64(buffer.count)) else { return false }
        var plan = try plan(offset, UInt64(buffer.count))
        return try plan.finishNow(context, into: buffer)
    }
    public func read(at offset: UInt64, into buffer: IOBuffer) async throws {
        guard isAligned(offset, UInt64(buffer.count)) else {
            return try await readUnaligned(at: offset, into: buffer) { try await self.read(at: $0, into: $1) }
        }
        try await retryingMoved {
            var plan = try self.plan(offset, UInt64(buffer.count))
            try await plan.finish(self.context, into: buffer)
        }
    }
    public func prefetch(at offset: UInt64, count: UInt64) async throws {
        try await retryingMoved {
            var plan = try self.plan(offset, count)
            try await plan.prefetch(self.context)
        }
    }
    public func status(at offset: UInt64, count: UInt64, extentsMax: Int) async throws -> [DeviceExtent] {
        try await deviceStatus(at: offset, count: count, extentsMax: extentsMax) { range in
            try await self.retryingMoved {
                let layout = self.layout.withLock { $0 }
                return try await self.context.maps.lookup(range, in: layout).filter { $0.mapping != .zero }.map(\.range)
            }
        }
    }
    private func retryingMoved<R>(_ body: () async throws -> R) async throws -> R {
        var isFirst = true
        do {
            return try await repeating(until: deadline, on: [.unavailable], context.time) {
                try await Volumes.retryingMoved(name, context) {
                    if !isFirst {
                        let newest = try await self.newestLayout()
                        self.layout.withLock { $0 = newest }
                    }
                    isFirst = false
                    return try await body()
                }
            } retrying: { _ in
            } expired: { limit, error in
                StorageError(.unavailable, "\(name): the store did not answer within \(limit)", cause: error)
            }
        } catch {
            switch error.storageCode {
            case .corrupt: context.eventSometimes(.corruptObject, rate, volume: name, "a read failed: \(error)")
            case .unavailable:
                context.eventSometimes(
                    .deadlinePassed, rate, volume: name, "a request was answered with an error: \(error)")
            default: break
            }
            throw error
        }
    }
    private func plan(_ offset: UInt64, _ count: UInt64) throws -> ReadPlan {
        guard offset <= size, count <= size - offset else {
            throw StorageError(.invalid, "a read of \(count) bytes at \(offset) lies beyond the end of \(name)")
        }
        return ReadPlan(BlockRange.touching(byteOffset: offset, byteCount: count), layout: layout.withLock { $0 })
    }

    public func writeNow(at offset: UInt64, from bytes: UnsafeRawBufferPointer) throws -> Bool { throw readOnly }
    public func write(at offset: UInt64, from buffer: IOBuffer, fua: Bool) async throws { throw readOnly }
    public func trim(at offset: UInt64, count: UInt64, fua: Bool) async throws { throw readOnly }
    public func writeZeroes(at offset: UInt64, count: UInt64, fua: Bool) async throws { throw readOnly }
    /// Nothing was written, so everything written is durable.
    public func flush() async throws {}
    private var readOnly: StorageError { StorageError(.denied, "\(name) is a snapshot: it cannot be written") }
}
