import Codec
import StoreCore

/// Users and their keys, from lines `user:hexkey` as GnuTLS's psktool writes them. Empty lines and those that begin
/// with `#` are comments. Errors name lines, never what stands in them.
struct PreSharedKeys: Sendable {
    /// 128 bits: what is guessed faster protects nothing.
    static let keyBytesMin = 16
    /// What OpenSSL takes.
    static let keyBytesMax = 256
    static let userBytesMax = 128

    private let keys: [String: SecretBytes]

    static func load(_ path: String) throws(StorageError) -> PreSharedKeys {
        let content = try SecretFile.read(path, "file of pre-shared keys")
        return try content.withBytes { bytes throws(StorageError) in try PreSharedKeys(parsing: bytes, path: path) }
    }

    init(parsing bytes: UnsafeRawBufferPointer, path: String) throws(StorageError) {
        var keys: [String: SecretBytes] = [:]
        for (index, line) in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).enumerated() {
            let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
            guard let first = line.first, first != UInt8(ascii: "#") else { continue }
            let place = "\(path):\(index + 1)"
            guard let colon = line.lastIndex(of: UInt8(ascii: ":")),
                let user = String(validating: line[..<colon], as: UTF8.self), !user.isEmpty,
                user.utf8.count <= Self.userBytesMax, !user.utf8.contains(0)
            else { throw StorageError(.invalid, "\(place): a line is user:hexkey") }
            guard keys[user] == nil else { throw StorageError(.invalid, "\(place): this user has a key already") }
            keys[user] = try Self.key(line[line.index(after: colon)...], place)
        }
        guard !keys.isEmpty else { throw StorageError(.invalid, "\(path) holds no pre-shared key: psktool makes them") }
        self.keys = keys
    }

    private static func key(
        _ digits: Slice<UnsafeRawBufferPointer>, _ place: String
    ) throws(StorageError) -> SecretBytes {
        guard digits.count % 2 == 0, digits.allSatisfy({ nibble($0) != nil }) else {
            throw StorageError(.invalid, "\(place): the key must be hexadecimal digits, two for each byte")
        }
        guard (keyBytesMin...keyBytesMax).contains(digits.count / 2) else {
            throw StorageError(.invalid, "\(place): a key has \(keyBytesMin) to \(keyBytesMax) bytes")
        }
        return SecretBytes(count: digits.count / 2, placement: .locked) { buffer in
            var at = digits.startIndex
            for index in buffer.indices {
                buffer[index] = (nibble(digits[at]) ?? 0) << 4 | (nibble(digits[at + 1]) ?? 0)
                at += 2
            }
        }
    }

    private static func nibble(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    var users: [String] { keys.keys.sorted() }
    func key(of user: String) -> SecretBytes? { keys[user] }
}
