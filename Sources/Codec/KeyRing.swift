public import StoreCore
import Synchronization

/// All data keys of a store, in memory. Every part of a process shares one ring, so that a rotation reaches all of them
/// at once: from then on new objects are sealed under the new key, and objects under older keys stay readable.
///
/// Thread-safe. The keys are zeroed when the last reference to the ring goes, and kept out of swap and core dumps where
/// allowed.
public final class KeyRing: Sendable {
    struct Key: Sendable {
        let algorithm: CipherAlgorithm
        let secret: SecretBytes
    }
    private struct State {
        var keys: [DataKeyID: Key]
        var current: DataKeyID
    }
    /// Guards the keys and which of them is the current one. Neither ever goes back.
    private let state: Mutex<State>

    init(keys: [DataKeyID: Key], current: DataKeyID) {
        precondition(keys[current] != nil, "the current key is in the ring")
        state = Mutex(State(keys: keys, current: current))
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

    /// The key that new objects are sealed under.
    public var currentKeyID: DataKeyID { state.withLock { $0.current } }
    public var keyIDs: [DataKeyID] { state.withLock { $0.keys.keys.sorted() } }
    public var currentAlgorithm: CipherAlgorithm { current.key.algorithm }
    public func holds(_ id: DataKeyID) -> Bool { state.withLock { $0.keys[id] != nil } }

    /// Whether this has all keys of `other`, and the same.
    public func isSuccessor(of other: KeyRing) -> Bool {
        let known = keys
        return other.keys.allSatisfy { id, key in known[id]?.secret.equals(key.secret) ?? false }
    }

    /// A ring of its own that lacks some keys, to see whether anything still needs them. Traps where the current key is
    /// among them.
    public func without(_ ids: Set<DataKeyID>) -> KeyRing {
        let (keys, current) = state.withLock { ($0.keys, $0.current) }
        return KeyRing(keys: keys.filter { !ids.contains($0.key) }, current: current)
    }

    var keys: [DataKeyID: Key] { state.withLock { $0.keys } }
    private var current: (id: DataKeyID, key: Key) {
        state.withLock { state in
            guard let key = state.keys[state.current] else { preconditionFailure("the current key is in the ring") }
            return (state.current, key)
        }
    }

    /// Takes over what a newer superblock says. Keys that it retired stay until the process ends: what was sealed here
    /// under them (journals, uploads on their way) must open. The current key never goes back to an older one.
    ///
    /// Throws `corrupt` where a key is another than the one known by its number: the superblock belongs to another
    /// history.
    /// - Returns: whether there was anything new.
    @discardableResult
    public func adopt(_ newer: KeyRing) throws(StorageError) -> Bool {
        let (keys, current) = newer.state.withLock { ($0.keys, $0.current) }
        let isNews: Bool? = state.withLock { state in
            let isSame = keys.allSatisfy { id, key in state.keys[id]?.secret.equals(key.secret) ?? true }
            guard isSame else { return nil }
            let isNews = keys.keys.contains { state.keys[$0] == nil } || current > state.current
            state.keys.merge(keys) { known, _ in known }
            state.current = max(state.current, current)
            return isNews
        }
        guard let isNews else {
            throw .corrupt(
                "superblock", "a data key in it is another than it was: the store was exchanged or rolled back")
        }
        return isNews
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
        let (id, key) = current
        let header = ObjectHeader(kind: kind, algorithm: key.algorithm, keyID: id, salt: salt)
        return try ObjectCipher(header, identity: identity, dataKey: key.secret)
    }

    /// The cipher of an object that exists. Throws `denied` where the ring lacks its key.
    ///
    /// - Parameter object: its name for errors, where that is more than its identity.
    public func opening(
        _ header: ObjectHeader, identity: String, object: String? = nil
    ) throws(StorageError) -> ObjectCipher {
        let name = object ?? identity
        guard let key = state.withLock({ $0.keys[header.keyID] }) else {
            throw StorageError(
                .denied,
                "object \(name) is sealed under data key \(header.keyID), which the superblock does not hold"
            )
        }
        guard key.algorithm == header.algorithm else {
            throw .corrupt(
                name, at: 7, "its cipher is not that of its key", expected: key.algorithm.name,
                actual: header.algorithm.name)
        }
        return try ObjectCipher(header, identity: identity, dataKey: key.secret)
    }
}
