public import Codec
public import StoreCore

/// Makes one packed segment: records that the cleaner moves out of segments that are mostly dead.
///
/// Records come as they were stored, still compressed, and are sealed anew, because no frame may be used under another
/// object's key. Which blocks they hold, their extents say. An instance belongs to one task.
public struct PackedSegmentBuilder: ~Copyable {
    private let generation: UInt64
    private var assembly: SegmentAssembly

    /// - Parameter generation: the cleaner's, claimed by compare-and-swap.
    public init(generation: UInt64, keys: KeyRing, expectedBytes: Int = 0) throws(StorageError) {
        // The name is the hash of the contents, which are not yet known: identity is the folder alone.
        let identity = SegmentID.packed(generation: generation, hash: .zero).identity
        let cipher = try keys.sealing(.segment, identity: identity)
        self.init(generation: generation, cipher: cipher, expectedBytes: expectedBytes)
    }
    init(generation: UInt64, cipher: ObjectCipher, expectedBytes: Int = 0) {
        self.generation = generation
        assembly = SegmentAssembly(cipher: cipher, expectedBytes: expectedBytes)
    }

    /// Bytes so far, without index and trailer.
    public var byteCount: Int { assembly.byteCount }
    public var recordCount: Int { assembly.records.count }

    /// - Parameter storedPayload: as `SegmentReader.openStoredPayload` gave it.
    /// - Returns: where the record lies in the segment to come. Throws `full` where there is no room: seal earlier.
    public mutating func append(
        storedPayload: ArraySlice<UInt8>, blockCount: UInt8
    ) throws(StorageError) -> RecordLocation {
        try assembly.append(stored: storedPayload.span.bytes, blockCount: Int(blockCount))
    }
    public mutating func append(storedPayload: [UInt8], blockCount: UInt8) throws(StorageError) -> RecordLocation {
        try append(storedPayload: storedPayload[...], blockCount: blockCount)
    }

    public consuming func seal() throws(StorageError) -> SealedSegment {
        let index = SegmentIndex.packed(assembly.records)
        let generation = generation
        return try assembly.seal(index, isPacked: true) { .packed(generation: generation, hash: $0) }
    }
}
