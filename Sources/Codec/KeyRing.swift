public import StoreCore

/// All data keys of a store, in memory. Immutable, so any thread may use it; a rotation makes a new ring.
///
/// The keys are zeroed when the last reference to the ring goes, and kept out of swap and core dumps where allowed.
public final class KeyRing: Sendable {
    struct Key: Sendable {
        let algorithm: CipherAlgorithm
        let secret: SecretBytes
    }

    /// The key that new objects are sealed under.
    public let currentKeyID: DataKeyID
    let keys: [DataKeyID: Key]

    init(keys: [DataKeyID: Key], current: DataKeyID) {
        precondition(keys[current] != nil, "the current key is in the ring")
        self.keys = keys
        currentKeyID = current
    }

    /// A ring with one fresh key. Traps where the kernel's random source fails, as Swift's own generator does.
    public static func generate(algorithm: CipherAlgorithm = .chaCha20Poly1305) -> KeyRing {
        let secret: SecretBytes
        do {
            secret = try .random(count: ObjectKey.byteCount, placement: .locked)
        } catch { preconditionFailure(error.message) }
        let first = DataKeyID(1)
        return KeyRing(keys: [first: Key(algorithm: algorithm, secret: secret)], current: first)
    }

    public var keyIDs: [DataKeyID] { keys.keys.sorted() }
    public var currentAlgorithm: CipherAlgorithm { current.algorithm }
    private var current: Key {
        guard let key = keys[currentKeyID] else { preconditionFailure("the current key is in the ring") }
        return key
    }

    /// The cipher of a new object, under a fresh salt.
    ///
    /// - Parameter identity: what the object is, normally its key in the store: of two objects that someone swapped,
    ///   neither opens.
    public func sealing(_ kind: ObjectKind, identity: String) throws(StorageError) -> ObjectCipher {
        try sealing(kind, identity: identity, salt: .random())
    }
    /// For golden tests: a salt must never be used for two contents.
    func sealing(_ kind: ObjectKind, identity: String, salt: Salt) throws(StorageError) -> ObjectCipher {
        let header = ObjectHeader(kind: kind, algorithm: current.algorithm, keyID: currentKeyID, salt: salt)
        return try ObjectCipher(header, identity: identity, dataKey: current.secret)
    }

    /// The cipher of an object that exists. Throws `denied` where the ring lacks its key.
    public func opening(_ header: ObjectHeader, identity: String) throws(StorageError) -> ObjectCipher {
        guard let key = keys[header.keyID] else {
            throw StorageError(
                .denied,
                "object \(identity) is sealed under data key \(header.keyID), which the superblock does not hold"
            )
        }
        guard key.algorithm == header.algorithm else {
            throw .corrupt(
                identity, at: 7, "its cipher is not that of its key", expected: key.algorithm.name,
                actual: header.algorithm.name)
        }
        return try ObjectCipher(header, identity: identity, dataKey: key.secret)
    }
}
