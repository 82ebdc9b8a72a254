public import StoreCore

extension ObjectKey {
    /// S3's limit.
    public static let bytesMax = 1024
    /// A file name's limit: each segment of a key is one in a directory store.
    static let segmentBytesMax = 255

    /// Whether every store takes the key: segments of `[A-Za-z0-9._-]`, none empty, none beginning with `.`, at most
    /// 255 bytes each and 1024 in all. Wider than what zerofs itself writes, so that a prefix of the user's fits.
    public var isValid: Bool {
        (1...Self.bytesMax).contains(text.utf8.count)
            && text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
                .allSatisfy(Self.isValidSegment)
    }

    /// Throws `invalid`. Stores call it before they touch anything: a key must never lead out of the store.
    public func requireValid() throws(StorageError) {
        guard isValid else { throw StorageError(.invalid, "'\(text)' is not a valid object key") }
    }

    static func isValidSegment(_ segment: some Collection<UInt8>) -> Bool {
        guard let first = segment.first, first != UInt8(ascii: "."), segment.count <= segmentBytesMax else {
            return false
        }
        return segment.allSatisfy(isValidByte)
    }
    private static func isValidByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"):
            true
        default: false
        }
    }
}

extension ObjectStore {
    /// What `list` demands of its limit.
    func requireValid(limit: Int) throws(StorageError) {
        guard (1...1000).contains(limit) else {
            throw StorageError(.invalid, "a list's limit is 1 to 1000, not \(limit)")
        }
    }
}

/// Cuts a range to an object of `byteCount` bytes; nil means all of it. Throws `invalid` for one wholly beyond its end.
func rangeWithin(_ byteCount: UInt64, _ range: Range<UInt64>?, of key: ObjectKey) throws(StorageError) -> Range<UInt64>
{
    guard let range else { return 0..<byteCount }
    guard range.lowerBound < byteCount else {
        throw StorageError(
            .invalid,
            "range \(range.lowerBound)..<\(range.upperBound) of object \(key) lies beyond its \(byteCount) bytes")
    }
    return range.lowerBound..<min(range.upperBound, byteCount)
}

func noSuchObject(_ key: ObjectKey, in location: String) -> StorageError {
    StorageError(.notFound, "there is no object \(key) in \(location)")
}
