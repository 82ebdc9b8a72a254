public import StoreCore

/// What a person holds that opens a store: a passphrase, or the 32 bytes of a key file. Kept in locked memory, zeroed
/// with its last reference; prints without its content.
public struct Unlock: Sendable, CustomStringConvertible {
    enum Kind { case passphrase, keyFile }
    let kind: Kind
    /// nil for an empty passphrase, which opens nothing.
    let secret: SecretBytes?

    /// The passphrase's bytes as typed, without a newline.
    public static func passphrase(_ bytes: some Collection<UInt8>) -> Unlock { Unlock(.passphrase, bytes) }
    /// The 32 bytes of a key file.
    public static func keyFile(_ bytes: some Collection<UInt8>) -> Unlock { Unlock(.keyFile, bytes) }

    private init(_ kind: Kind, _ bytes: some Collection<UInt8>) {
        self.kind = kind
        secret = bytes.isEmpty ? nil : SecretBytes(copying: bytes, placement: .locked)
    }
    public var description: String { kind == .passphrase ? "passphrase" : "key file" }

    /// A passphrase file's content: one line end at its end is not part of the passphrase. Throws `invalid` where
    /// nothing is left; `path` is for the error's text.
    public static func readingPassphrase(_ text: [UInt8], path: String) throws(StorageError) -> Unlock {
        var passphrase = text[...]
        if passphrase.last == UInt8(ascii: "\n") { passphrase.removeLast() }
        if passphrase.last == UInt8(ascii: "\r") { passphrase.removeLast() }
        guard !passphrase.isEmpty else { throw StorageError(.invalid, "the passphrase file \(path) is empty") }
        return .passphrase(passphrase)
    }

    /// Whether both open the same.
    public func isSame(as other: Unlock) -> Bool {
        guard kind == other.kind, let secret, let otherSecret = other.secret else { return false }
        return secret.equals(otherSecret)
    }
}

/// How a superblock's keys are reached.
public enum UnlockMethod: Hashable, Sendable {
    case passphrase(ScryptCost)
    case keyFile
}

/// A key file: 32 random bytes as 64 hexadecimal digits on one line; empty lines and lines that begin with # do not
/// count.
public enum KeyFile {
    public static let byteCount = 32

    public static func generate() throws(StorageError) -> [UInt8] { try SecureRandom.bytes(byteCount) }

    /// The file's content, with a comment that says what it is. Traps unless there are 32 bytes.
    public static func text(of key: [UInt8]) -> String {
        precondition(key.count == byteCount, "a key file holds 32 bytes")
        let digits = Digest(bytes: key).description
        return """
            # zerofs key file. Who has it can read the store; without it the data is lost. Keep a copy elsewhere.
            \(digits)

            """
    }

    /// Throws `invalid` unless exactly one key is there; the error names `path`, never the content.
    public static func parse(_ text: [UInt8], path: String) throws(StorageError) -> Unlock {
        let lines = text.split { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }
            .map(trimmed).filter { !$0.isEmpty && $0.first != UInt8(ascii: "#") }
        guard lines.count == 1, let line = lines.first, line.count == 2 * byteCount,
            line.allSatisfy({ digit($0) != nil })
        else {
            throw StorageError(
                .invalid, "\(path) is not a zerofs key file: it must hold one line of 64 hexadecimal digits")
        }
        var key: [UInt8] = []
        key.reserveCapacity(byteCount)
        var high: UInt8?
        for value in line.lazy.compactMap(digit) {
            if let first = high { key.append(first << 4 | value) }
            high = high == nil ? value : nil
        }
        defer { SecretMemory.wipe(&key) }
        return .keyFile(key)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
        default: nil
        }
    }
    private static func trimmed(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
        var rest = line.drop(while: isBlank)
        while let last = rest.last, isBlank(last) { rest.removeLast() }
        return rest
    }
}
