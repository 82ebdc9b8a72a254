import COpenSSL
import StoreCore

/// OpenSSL's state for one AEAD algorithm in one direction, kept by a thread and given a new nonce per frame.
///
/// The key of the frame before is remembered by number: the frames of one object follow each other, and setting up an
/// AES key again costs a third of sealing 4 KiB.
final class AEADContext {
    enum Direction { case seal, open }
    static let tagBytes = 16

    private let context: OpaquePointer
    private var keyNumber: UInt64 = 0

    init(_ algorithm: CipherAlgorithm, _ direction: Direction) throws(StorageError) {
        let cipher = try algorithm.fetched.get()
        guard let context = EVP_CIPHER_CTX_new() else { throw OpenSSLFailure.error("make a cipher context") }
        self.context = context
        try OpenSSLFailure.check(
            EVP_CipherInit_ex2(context, cipher, nil, nil, direction == .seal ? 1 : 0, nil), "set up \(algorithm.name)")
    }
    deinit { EVP_CIPHER_CTX_free(context) }

    /// Writes the ciphertext of `head` and `body`, as one frame, and then the tag to `output`, which has room for all.
    func seal(
        _ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
        under key: ObjectKey, nonce: Nonce, authenticating data: [UInt8], into output: UnsafeMutablePointer<UInt8>
    ) throws(StorageError) {
        try begin(key, nonce, data)
        try transform(head, into: output)
        try transform(body, into: output + head.count)
        let end = output + (head.count + body.count)
        var rest: Int32 = 0
        try check(EVP_EncryptFinal_ex(context, end, &rest), "encrypt")
        try check(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(Self.tagBytes), end), "encrypt")
    }

    /// Decrypts all of `input` but the tag at its end into `output`; false where the tag is wrong. What was written
    /// before a wrong tag was noticed must not be used.
    func open(
        _ input: UnsafeRawBufferPointer, under key: ObjectKey, nonce: Nonce, authenticating data: [UInt8],
        into output: UnsafeMutablePointer<UInt8>
    ) throws(StorageError) -> Bool {
        let tag = UnsafeMutableRawPointer(mutating: input.baseAddress! + (input.count - Self.tagBytes))
        try begin(key, nonce, data)
        try check(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(Self.tagBytes), tag), "decrypt")
        try transform(UnsafeRawBufferPointer(rebasing: input.dropLast(Self.tagBytes)), into: output)
        var rest: Int32 = 0
        guard EVP_DecryptFinal_ex(context, output + (input.count - Self.tagBytes), &rest) == 1 else {
            ERR_clear_error()
            return false
        }
        return true
    }

    private func begin(_ key: ObjectKey, _ nonce: Nonce, _ data: [UInt8]) throws(StorageError) {
        let isSameKey = key.number == keyNumber
        // Until both are set, the context holds no key that may be relied on.
        keyNumber = 0
        let result = key.secret.withBytes { key in
            withUnsafeBytes(of: nonce.words) { nonce in
                EVP_CipherInit_ex2(
                    context, nil, isSameKey ? nil : key.assumingMemoryBound(to: UInt8.self).baseAddress,
                    nonce.assumingMemoryBound(to: UInt8.self).baseAddress, -1, nil)
            }
        }
        try check(result, "set a key")
        keyNumber = key.number
        guard !data.isEmpty else { return }
        var written: Int32 = 0
        try check(EVP_CipherUpdate(context, nil, &written, data, Int32(data.count)), "authenticate")
    }

    private func transform(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutablePointer<UInt8>
    ) throws(StorageError) {
        guard input.count > 0 else { return }
        var written: Int32 = 0
        let source = input.assumingMemoryBound(to: UInt8.self).baseAddress
        try check(EVP_CipherUpdate(context, output, &written, source, Int32(input.count)), "transform")
        precondition(written == input.count, "a stream cipher keeps the length")
    }

    private func check(_ result: Int32, _ what: StaticString) throws(StorageError) {
        guard result == 1 else {
            keyNumber = 0
            throw OpenSSLFailure.error("\(what) a frame")
        }
    }
}

/// The 12 bytes that no two frames under one key may share: four zeros, then the frame's position, little-endian.
struct Nonce {
    let words: (UInt32, UInt32, UInt32)

    init(position: UInt64) {
        let low = UInt32(truncatingIfNeeded: position), high = UInt32(truncatingIfNeeded: position >> 32)
        words = (0, low.littleEndian, high.littleEndian)
    }
    /// For published test vectors: the bytes as they lie in memory.
    init(words: (UInt32, UInt32, UInt32)) { self.words = words }
}

extension CipherAlgorithm {
    private static let chaCha = Fetched.cipher("ChaCha20-Poly1305")
    private static let aes = Fetched.cipher("AES-256-GCM")

    var fetched: Fetched {
        switch self {
        case .chaCha20Poly1305: Self.chaCha
        case .aes256GCM: Self.aes
        }
    }
    public var name: String {
        switch self {
        case .chaCha20Poly1305: "ChaCha20-Poly1305"
        case .aes256GCM: "AES-256-GCM"
        }
    }
}
