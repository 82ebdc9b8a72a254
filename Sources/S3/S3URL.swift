public import StoreCore

/// Where a store lies: `s3://bucket/prefix`. The prefix may be empty.
public struct S3URL: Hashable, Sendable, CustomStringConvertible {
    public let bucket: String
    /// Without slashes at its ends; empty for the whole bucket.
    public let prefix: String

    /// - Throws: `invalid` for a bucket or prefix that no server could hold.
    public init(bucket: String, prefix: String = "") throws(StorageError) {
        self.bucket = bucket
        self.prefix = Self.withoutOuterSlashes(prefix)
        try Self.check(bucket: bucket)
        try Self.check(prefix: self.prefix)
    }

    /// Reads `s3://bucket` and `s3://bucket/some/prefix`, the latter with or without a slash at its end.
    /// - Throws: `invalid` with a line that says what is wrong.
    public static func parse(_ text: String) throws(StorageError) -> S3URL {
        guard text.lowercased().hasPrefix("s3://") else {
            throw StorageError(.invalid, "'\(text)' is not an S3 location: write s3://bucket/prefix")
        }
        let parts = text.dropFirst(5).split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        return try S3URL(bucket: String(parts[0]), prefix: parts.count > 1 ? String(parts[1]) : "")
    }

    public var description: String { prefix.isEmpty ? "s3://\(bucket)" : "s3://\(bucket)/\(prefix)" }

    private static func withoutOuterSlashes(_ text: String) -> String {
        let inner = text.drop { $0 == "/" }
        return String(inner.reversed().drop { $0 == "/" }.reversed())
    }

    private static func check(bucket: String) throws(StorageError) {
        guard !bucket.isEmpty else {
            throw StorageError(.invalid, "the S3 location names no bucket: write s3://bucket/prefix")
        }
        // AWS allows 3 to 63 of lower case, digits, dots and dashes; other servers are freer.
        let isSound =
            bucket.utf8.count <= 255 && bucket != "." && bucket != ".."
            && bucket.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
                default: "-._".utf8.contains(byte)
                }
            }
        guard isSound else {
            throw StorageError(.invalid, "'\(bucket)' is not a bucket name: use letters, digits and . - _")
        }
    }

    private static func check(prefix: String) throws(StorageError) {
        // Dot and empty segments are tidied away by proxies, and the signature would then be wrong.
        let segments = prefix.split(separator: "/", omittingEmptySubsequences: false)
        let isSound = prefix.isEmpty || segments.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." }
        let isPrintable = prefix.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7f }
        guard isSound, isPrintable, prefix.utf8.count <= 512 else {
            throw StorageError(
                .invalid,
                "the prefix of an S3 location must be at most 512 bytes, without empty, '.' or '..' parts"
                    + " and control characters"
            )
        }
    }
}
