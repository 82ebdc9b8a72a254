public import StoreCore

/// What a person holds that opens a store.
public enum Unlock: Sendable {
    /// The passphrase's bytes as typed, without a newline.
    case passphrase([UInt8])
    /// The 32 bytes of a key file.
    case keyFile([UInt8])

    /// A passphrase file's content: one line end at its end is not part of the passphrase. Throws `invalid` where
    /// nothing is left; `path` is for the error's text.
    public static func readingPassphrase(_ text: [UInt8], path: String) throws(StorageError) -> Unlock {
        var passphrase = text[...]
        if passphrase.last == UInt8(ascii: "\n") { passphrase.removeLast() }
        if passphrase.last == UInt8(ascii: "\r") { passphrase.removeLast() }
        guard !passphrase.isEmpty else { throw StorageError(.invalid, "the passphrase file \(path) is empty") }
        return .passphrase(Array(passphrase))
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
            .map { String(decoding: $0, as: UTF8.self).trimmed }
            .filter { !$0.isEmpty && !$0.hasPrefix("#") }
        guard lines.count == 1, lines[0].utf8.allSatisfy(isHexDigit), let key = Digest(hex: lines[0]) else {
            throw StorageError(
                .invalid, "\(path) is not a zerofs key file: it must hold one line of 64 hexadecimal digits")
        }
        return .keyFile(key.bytes)
    }

    /// `Digest(hex:)` goes through integer parsing, which would take a sign.
    private static func isHexDigit(_ byte: UInt8) -> Bool { Character(UnicodeScalar(byte)).isHexDigit }
}

extension String {
    fileprivate var trimmed: String {
        let start = drop { $0 == " " || $0 == "\t" }
        return String(start.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
    }
}
