public import StoreCore
import Synchronization

/// Seals and opens the frames of one object. Copies share the key; any thread may use them.
///
/// Key: HKDF-SHA256(data key, salt: the header's salt, info: "zerofs object 1", the header's first 16 bytes, the
/// identity in UTF-8). Nonce of a frame: its byte position in the object. So no nonce is used twice under one key as
/// long as a sealer puts one frame at each position, and each sealing has a salt of its own.
public struct ObjectCipher: Sendable {
    public static let tagBytes = AEADContext.tagBytes
    /// What OpenSSL takes in one call, with room for the tag.
    static let frameBytesMax = 1 << 30
    static let derivationLabel = "zerofs object 1"

    public let header: ObjectHeader
    private let key: ObjectKey

    init(_ header: ObjectHeader, identity: String, dataKey: SecretBytes) throws(StorageError) {
        self.header = header
        let bytes = header.bytes
        let info = Array(Self.derivationLabel.utf8) + bytes.prefix(ObjectHeader.boundBytes) + Array(identity.utf8)
        key = ObjectKey(
            try HKDF.derive(from: dataKey, salt: header.salt.bytes, info: info, count: ObjectKey.byteCount))
    }

    /// Appends ciphertext and tag to `output`: `plaintext.byteCount + tagBytes` bytes.
    ///
    /// - Parameters:
    ///   - position: the frame's byte position in the object; never the same for two frames.
    ///   - data: authenticated with the frame, not stored in it.
    public func seal(
        _ plaintext: RawSpan, at position: UInt64, authenticating data: [UInt8] = [], appendingTo output: inout [UInt8]
    ) throws(StorageError) {
        precondition(plaintext.byteCount <= Self.frameBytesMax, "a frame is at most 1 GiB")
        let context = try ThreadContexts.current.cipher(header.algorithm, .seal)
        let count = plaintext.byteCount + Self.tagBytes
        try output.append(addingCapacity: count) { (rest: inout OutputSpan<UInt8>) throws(StorageError) in
            try rest.withUnsafeMutableBufferPointer { (buffer, initialized) throws(StorageError) in
                let target = buffer.baseAddress! + initialized
                try plaintext.withUnsafeBytes { (source) throws(StorageError) in
                    try context.seal(
                        source, under: key, nonce: Nonce(position: position), authenticating: data, into: target)
                }
                initialized += count
            }
        }
    }
    public func seal(
        _ plaintext: [UInt8], at position: UInt64, authenticating data: [UInt8] = [], appendingTo output: inout [UInt8]
    ) throws(StorageError) {
        try seal(plaintext.span.bytes, at: position, authenticating: data, appendingTo: &output)
    }

    /// Seals `head` and then `body` as one frame into `target`, which has exactly room for both and the tag: for
    /// writers that place frames in memory of their own (a mapped journal file). Plaintext never touches `target`.
    public func seal(
        _ head: UnsafeRawBufferPointer, _ body: UnsafeRawBufferPointer, at position: UInt64,
        authenticating data: [UInt8], into target: UnsafeMutableRawBufferPointer
    ) throws(StorageError) {
        precondition(head.count + body.count <= Self.frameBytesMax, "a frame is at most 1 GiB")
        precondition(target.count == head.count + body.count + Self.tagBytes, "the target is as long as the frame")
        let context = try ThreadContexts.current.cipher(header.algorithm, .seal)
        try context.seal(
            head, body, under: key, nonce: Nonce(position: position), authenticating: data,
            into: target.baseAddress!.assumingMemoryBound(to: UInt8.self))
    }

    /// The plaintext of a frame with its tag. Throws `corrupt`, which names `object` and `position`, where the tag is
    /// wrong.
    public func open(
        _ sealed: ArraySlice<UInt8>, at position: UInt64, authenticating data: [UInt8] = [], object: String
    ) throws(StorageError) -> [UInt8] {
        try open(sealed.span.bytes, at: position, authenticating: data, object: object)
    }
    public func open(
        _ sealed: RawSpan, at position: UInt64, authenticating data: [UInt8] = [], object: String
    ) throws(StorageError) -> [UInt8] {
        let count = sealed.byteCount - Self.tagBytes
        guard count >= 0 else {
            throw .corrupt(object, at: position, "a sealed frame is shorter than its tag")
        }
        guard count <= Self.frameBytesMax else { throw .corrupt(object, at: position, "a sealed frame exceeds 1 GiB") }
        let context = try ThreadContexts.current.cipher(header.algorithm, .open)
        return try [UInt8](capacity: max(count, 1)) { (output: inout OutputSpan<UInt8>) throws(StorageError) in
            try output.withUnsafeMutableBufferPointer { (buffer, initialized) throws(StorageError) in
                let target = buffer.baseAddress!
                let isGenuine = try sealed.withUnsafeBytes { (source) throws(StorageError) in
                    try context.open(
                        source, under: key, nonce: Nonce(position: position), authenticating: data, into: target)
                }
                guard isGenuine else { throw .corrupt(object, at: position, "its authentication tag is wrong") }
                initialized = count
            }
        }
    }
}

/// One object's key, numbered so that a thread's cipher context can tell whether it is already set up for it.
final class ObjectKey: Sendable {
    static let byteCount = 32
    private static let count = Atomic<UInt64>(0)

    let secret: SecretBytes
    /// From 1; never given twice in a process.
    let number: UInt64

    init(_ secret: SecretBytes) {
        precondition(secret.count == Self.byteCount, "an object key is 32 bytes")
        self.secret = secret
        number = Self.count.add(1, ordering: .relaxed).newValue
    }
}
