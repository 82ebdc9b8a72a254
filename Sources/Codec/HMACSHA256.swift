import COpenSSL
import StoreCore

/// HMAC-SHA256 (RFC 2104). S3 request signatures and the superblock use it.
public enum HMACSHA256 {
    public static let byteCount = 32
    private static let algorithm = Fetched.authenticator("HMAC")

    public static func authenticate(_ message: [UInt8], key: [UInt8]) -> [UInt8] {
        // A key of no bytes equals one of zeros; OpenSSL wants a pointer.
        let key = key.isEmpty ? [0] : key
        return key.withUnsafeBytes { authenticate(message, key: $0) }
    }
    static func authenticate(_ message: [UInt8], key: SecretBytes) -> [UInt8] {
        key.withBytes { authenticate(message, key: $0) }
    }
    private static func authenticate(_ message: [UInt8], key: UnsafeRawBufferPointer) -> [UInt8] {
        [UInt8](capacity: byteCount) { output in
            output.withUnsafeMutableBufferPointer { buffer, initialized in
                let result = message.withUnsafeBytes {
                    zerofs_hmac_sha256(
                        algorithm.required, key.baseAddress, key.count, $0.baseAddress, $0.count, buffer.baseAddress)
                }
                precondition(result == 1, "HMAC-SHA256 of memory cannot fail")
                initialized = byteCount
            }
        }
    }

    /// In time that does not depend on where the two differ.
    public static func areEqual(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        a.count == b.count && CRYPTO_memcmp(a, b, a.count) == 0
    }
}
