import COpenSSL
public import StoreCore

extension Digest {
    public static func sha256(_ bytes: [UInt8]) -> Digest { sha256(bytes.span.bytes) }
    public static func sha256(_ bytes: ArraySlice<UInt8>) -> Digest { sha256(bytes.span.bytes) }
    public static func sha256(_ bytes: RawSpan) -> Digest { ThreadContexts.current.sha256.hash(bytes) }
}

/// SHA-256 of what comes in parts. A hasher belongs to one task at a time.
public struct SHA256Hasher: ~Copyable, @unchecked Sendable {
    private let context = DigestContext(.sha256)

    public init() { context.begin() }
    public mutating func update(_ bytes: [UInt8]) { context.update(bytes.span.bytes) }
    public mutating func update(_ bytes: ArraySlice<UInt8>) { context.update(bytes.span.bytes) }
    public mutating func update(_ bytes: RawSpan) { context.update(bytes) }
    public consuming func finish() -> Digest { context.finish() }
    /// The digest of what came so far; more may follow.
    public borrowing func digestSoFar() -> Digest { context.copy().finish() }
}

/// OpenSSL's digest state. SHA-256 is in every OpenSSL 3, and hashing memory cannot fail: what does is lack of memory
/// for a few hundred bytes, or a broken installation, and traps.
final class DigestContext {
    private let context: OpaquePointer
    private let algorithm: OpaquePointer

    init(_ algorithm: Fetched) {
        guard let context = EVP_MD_CTX_new() else { preconditionFailure("no memory for a digest context") }
        self.context = context
        self.algorithm = algorithm.required
    }
    deinit { EVP_MD_CTX_free(context) }

    func copy() -> DigestContext {
        let copy = DigestContext(Fetched.sha256)
        Self.check(EVP_MD_CTX_copy_ex(copy.context, context))
        return copy
    }
    func begin() { Self.check(EVP_DigestInit_ex2(context, algorithm, nil)) }
    func update(_ bytes: RawSpan) {
        bytes.withUnsafeBytes { Self.check(EVP_DigestUpdate(context, $0.baseAddress, $0.count)) }
    }
    func finish() -> Digest {
        var words = (UInt64(0), UInt64(0), UInt64(0), UInt64(0))
        withUnsafeMutableBytes(of: &words) {
            var count: UInt32 = 0
            Self.check(EVP_DigestFinal_ex(context, $0.baseAddress, &count))
            precondition(count == 32, "a SHA-256 digest is 32 bytes")
        }
        return Digest(
            high: UInt128(words.0.bigEndian) << 64 | UInt128(words.1.bigEndian),
            low: UInt128(words.2.bigEndian) << 64 | UInt128(words.3.bigEndian))
    }
    func hash(_ bytes: RawSpan) -> Digest {
        begin()
        update(bytes)
        return finish()
    }
    private static func check(_ result: Int32) { precondition(result == 1, "SHA-256 failed") }
}

extension Fetched {
    static let sha256 = Fetched.digest("SHA256")
}
