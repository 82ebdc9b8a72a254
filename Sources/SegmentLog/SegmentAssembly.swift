import Codec
import StoreCore

/// A segment's bytes as they grow: what the builders have in common.
struct SegmentAssembly: ~Copyable {
    private let cipher: ObjectCipher
    private var bytes: [UInt8]
    private(set) var records: [RecordLocation] = []

    init(cipher: ObjectCipher, expectedBytes: Int) {
        self.cipher = cipher
        bytes = []
        bytes.reserveCapacity(min(max(expectedBytes, 0), SegmentFormat.objectBytesMax) + SegmentFormat.objectBytesMin)
        bytes += cipher.header.bytes
    }

    /// Bytes of header and records so far.
    var byteCount: Int { bytes.count }

    /// Appends one record: `payload` is its blocks, raw or compressed.
    mutating func append(stored payload: RawSpan, blockCount: Int) throws(StorageError) -> RecordLocation {
        let record = RecordLocation(
            position: UInt32(bytes.count), byteCount: UInt32(payload.byteCount + ObjectCipher.tagBytes),
            blockCount: UInt8(clamping: blockCount))
        if let problem = record.problem { throw StorageError(.invalid, problem) }
        guard bytes.count + Int(record.byteCount) <= SegmentFormat.recordsEndMax,
            records.count < Limits.segmentEntriesMax
        else {
            throw StorageError(
                .full, "a segment of \(bytes.count) bytes with \(records.count) records has no room for another record")
        }
        try cipher.seal(payload, at: UInt64(record.position), appendingTo: &bytes)
        records.append(record)
        return record
    }

    /// Index and trailer. Throws `invalid` where the index breaks a rule that the reader will hold it to.
    ///
    /// - Parameter name: makes the segment's name from its content hash.
    consuming func seal(
        _ index: SegmentIndex, isPacked: Bool, name: (Digest) -> SegmentID
    ) throws(StorageError) -> SealedSegment {
        let position = bytes.count
        if let problem = index.problem(isPacked: isPacked, indexPosition: position) {
            throw StorageError(.invalid, "a segment that no reader would accept: \(problem)")
        }
        let bytesMin = SegmentFormat.objectBytesMin - position - ObjectCipher.tagBytes - SegmentTrailer.sealedBytes
        try cipher.seal(
            try index.encoded(isPacked: isPacked, bytesMin: bytesMin), at: UInt64(position), appendingTo: &bytes)
        var hasher = SHA256Hasher()
        hasher.update(bytes)
        let contentHash = hasher.digestSoFar()
        let trailer = SegmentTrailer(
            indexPosition: position, indexBytes: bytes.count - position, contentHash: contentHash)
        let trailerPosition = bytes.count
        try cipher.seal(trailer.encoded(), at: UInt64(trailerPosition), appendingTo: &bytes)
        hasher.update(bytes[trailerPosition...])
        let reference = SegmentReference(
            id: name(contentHash), header: cipher.header, contentHash: contentHash, byteCount: UInt32(bytes.count))
        return SealedSegment(reference: reference, index: index, bytes: bytes, objectHash: hasher.finish())
    }
}
