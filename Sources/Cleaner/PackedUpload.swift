import ObjectStorage
import SegmentLog
import StoreCore

/// Packed segments in the making: one is open at a time, and uploaded when it is full.
struct PackedUpload: ~Copyable {
    private let context: GCContext
    private let generation: UInt64
    private var builder: PackedSegmentBuilder
    /// In the store, in the order of their ordinals.
    private(set) var sealed: [SegmentReference] = []

    init(context: GCContext, generation: UInt64) throws(StorageError) {
        self.context = context
        self.generation = generation
        builder = try PackedSegmentBuilder(generation: generation, keys: context.keys)
    }

    /// - Returns: the ordinal of the segment that takes the record, and the record's place in it.
    mutating func append(
        _ storedPayload: [UInt8], blockCount: UInt8
    ) async throws -> (ordinal: Int, record: RecordLocation) {
        if builder.byteCount >= context.options.policy.packedBytesTarget
            || builder.recordCount >= Limits.segmentEntriesMax
        {
            try await upload()
        }
        return (sealed.count, try builder.append(storedPayload: storedPayload, blockCount: blockCount))
    }
    mutating func finish() async throws {
        if builder.recordCount > 0 { try await upload() }
    }

    private mutating func upload() async throws {
        let next = try PackedSegmentBuilder(
            generation: generation, keys: context.keys, expectedBytes: context.options.policy.packedBytesTarget)
        let segment = try exchange(&builder, with: next).seal()
        // A segment of this name has these bytes: its name is their hash.
        _ = try await context.store.create(segment.reference.id.key, segment.bytes, sha256: segment.objectHash)
        sealed.append(segment.reference)
        await Task.yield()
    }
}
