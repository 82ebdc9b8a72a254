public import StoreCore

/// zstd over whole pieces of memory: a record, a map block, a small object. The length before compression is kept by
/// whoever stores the result.
public enum Compression {
    /// Level 1: on two cores the network, not the ratio, is what is short of time.
    public static let levelDefault: Int32 = 1
    /// No piece is larger, so that a length from storage can be refused before memory is taken for it.
    public static let pieceBytesMax = Limits.metadataObjectBytesMax

    /// A block of zstd gives at most 128 KiB and takes at least 4 bytes (RFC 8878, section 3.1.1.2).
    static let gainMax = 32 << 10

    /// nil where it does not pay: the result would exceed 7/8 of the input, or a sample says that it would.
    public static func compress(_ bytes: RawSpan, level: Int32 = levelDefault) throws(StorageError) -> [UInt8]? {
        let room = bytes.byteCount - (bytes.byteCount + 7) / 8
        guard room > 0 else { return nil }
        let compressor = ThreadContexts.current.compressor
        guard try bytes.withUnsafeBytes({ (source) throws(StorageError) in try compressor.expectsGain(source) }) else {
            return nil
        }
        var isWorthwhile = false
        let result = try [UInt8](capacity: room) { (output: inout OutputSpan<UInt8>) throws(StorageError) in
            try output.withUnsafeMutableBufferPointer { (buffer, initialized) throws(StorageError) in
                let target = UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: room)
                let count = try bytes.withUnsafeBytes { (source) throws(StorageError) in
                    try compressor.compress(source, level: level, into: target)
                }
                guard let count else { return }
                initialized = count
                isWorthwhile = true
            }
        }
        return isWorthwhile ? result : nil
    }
    public static func compress(_ bytes: [UInt8], level: Int32 = levelDefault) throws(StorageError) -> [UInt8]? {
        try compress(bytes.span.bytes, level: level)
    }

    /// Throws `corrupt`, which names `object`, unless `bytes` are zstd for exactly `originalBytes`. Memory is bounded
    /// by that number, whatever the input claims, and by `gainMax` times the input.
    public static func decompress(
        _ bytes: ArraySlice<UInt8>, originalBytes: Int, object: String
    ) throws(StorageError) -> [UInt8] {
        try decompress(bytes.span.bytes, originalBytes: originalBytes, object: object)
    }
    public static func decompress(
        _ bytes: RawSpan, originalBytes: Int, object: String
    ) throws(StorageError) -> [UInt8] {
        guard (0...pieceBytesMax).contains(originalBytes), originalBytes <= bytes.byteCount * gainMax else {
            throw .corrupt(object, "compressed data claims \(originalBytes) bytes")
        }
        let decompressor = ThreadContexts.current.decompressor
        return try [UInt8](capacity: max(originalBytes, 1)) { (output: inout OutputSpan<UInt8>) throws(StorageError) in
            try output.withUnsafeMutableBufferPointer { (buffer, initialized) throws(StorageError) in
                let target = UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: originalBytes)
                switch bytes.withUnsafeBytes({ decompressor.decompress($0, into: target) }) {
                case .success(originalBytes): initialized = originalBytes
                case .success(let count):
                    throw .corrupt(
                        object, "compressed data is of another length", expected: "\(originalBytes)",
                        actual: "\(count)")
                case .failure(let failure): throw .corrupt(object, "zstd: \(failure.reason)")
                }
            }
        }
    }
}
