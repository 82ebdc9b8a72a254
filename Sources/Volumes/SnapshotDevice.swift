import BlockMap
import SegmentLog
import Snapshots
public import StoreCore

/// A pinned version as a read-only block device: `pg-prod@monday`. Immutable, so nothing here needs a lock.
public final class SnapshotDevice: BlockDevice {
    let id: SnapshotID
    public let name: String
    public let summary: String
    public let size: UInt64
    public let isReadOnly = true
    private let layout: MapLayout
    private let context: VolumeContext

    init(id: SnapshotID, name: String, size: UInt64, layout: MapLayout, context: VolumeContext) {
        self.id = id
        self.name = name
        self.summary = "zerofs snapshot \(name)"
        self.size = size
        self.layout = layout
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
        try await retryingMoved(name) {
            var plan = try self.plan(offset, UInt64(buffer.count))
            try await plan.finish(self.context, into: buffer)
        }
    }
    public func prefetch(at offset: UInt64, count: UInt64) async throws {
        try await retryingMoved(name) {
            var plan = try self.plan(offset, count)
            try await plan.prefetch(self.context)
        }
    }
    public func status(at offset: UInt64, count: UInt64, extentsMax: Int) async throws -> [DeviceExtent] {
        try await deviceStatus(at: offset, count: count, extentsMax: extentsMax) { range in
            try await self.context.maps.lookup(range, in: self.layout).filter { $0.mapping != .zero }.map(\.range)
        }
    }
    private func plan(_ offset: UInt64, _ count: UInt64) throws -> ReadPlan {
        guard offset <= size, count <= size - offset else {
            throw StorageError(.invalid, "a read of \(count) bytes at \(offset) lies beyond the end of \(name)")
        }
        return ReadPlan(BlockRange.touching(byteOffset: offset, byteCount: count), layout: layout)
    }

    public func writeNow(at offset: UInt64, from bytes: UnsafeRawBufferPointer) throws -> Bool { throw readOnly }
    public func write(at offset: UInt64, from buffer: IOBuffer, fua: Bool) async throws { throw readOnly }
    public func trim(at offset: UInt64, count: UInt64, fua: Bool) async throws { throw readOnly }
    public func writeZeroes(at offset: UInt64, count: UInt64, fua: Bool) async throws { throw readOnly }
    /// Nothing was written, so everything written is durable.
    public func flush() async throws {}
    private var readOnly: StorageError { StorageError(.denied, "\(name) is a snapshot: it cannot be written") }
}
