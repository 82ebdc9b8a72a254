/// Names of volumes and snapshots as people type them.
public enum VolumeName {
    /// Letters, digits, `.`, `_`, `-`, `:`, `+`; begins with a letter or digit; at most 200 bytes.
    public static func isValid(_ name: String) -> Bool {
        guard let first = name.utf8.first, name.utf8.count <= Limits.nameBytesMax, isAlphanumeric(first) else {
            return false
        }
        return name.utf8.allSatisfy { isAlphanumeric($0) || "._-:+".utf8.contains($0) }
    }
    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
    }
}

/// What a command names: `pg-prod`, or `pg-prod@monday`.
public struct VolumeReference: Hashable, Sendable, CustomStringConvertible {
    public var volume: String
    public var snapshot: String?

    public init(volume: String, snapshot: String? = nil) {
        self.volume = volume
        self.snapshot = snapshot
    }
    /// Throws `invalid` with a line that says which characters are allowed.
    public init(parsing text: String) throws(StorageError) {
        let parts = text.split(separator: "@", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.allSatisfy(VolumeName.isValid) else {
            throw StorageError(
                .invalid,
                """
                '\(text)' is not a valid name: use letters, digits and . _ - : +, begin with a letter or digit, \
                at most \(Limits.nameBytesMax) bytes
                """)
        }
        self.init(volume: parts[0], snapshot: parts.count > 1 ? parts[1] : nil)
    }
    public var description: String { snapshot.map { "\(volume)@\($0)" } ?? volume }
}
