public import StoreCore

/// What a store's first object says: which store it is, and its data keys, wrapped under a key that only a passphrase
/// or a key file gives.
///
/// Nothing in it changes in place: a changed passphrase or an added key makes another superblock, which a higher layer
/// writes under the next number. Each gets a fresh salt, hence fresh keys for wrapping and authentication, so that
/// rivals who change it at the same time never use one key for two contents.
public struct Superblock: Sendable {
    public let storeID: UInt128
    /// Its place among the store's superblocks, from 1. The name of the object says the same and anyone can give that
    /// to a copy; this is authenticated, so that an older superblock does not pass for the newest.
    public let number: UInt64
    public let created: Timestamp
    /// Of the whole store; a zerofs that reads less must refuse it.
    public let formatVersion: UInt16
    public let method: UnlockMethod
    public let currentKeyID: DataKeyID
    let salt: Salt
    /// Ascending by id, the current one among them.
    let wrappedKeys: [WrappedKey]
    /// HMAC-SHA256 of all that stands before it in the encoding.
    let authenticator: [UInt8]

    /// One data key, sealed under a key of its own.
    struct WrappedKey: Hashable, Sendable {
        static let sealedBytes = ObjectKey.byteCount + ObjectCipher.tagBytes
        static let encodedBytes = 4 + 1 + 3 + 16 + sealedBytes
        let id: DataKeyID
        let algorithm: CipherAlgorithm
        let salt: Salt
        let sealed: [UInt8]
    }
    /// Rotating daily for years stays below it.
    static let keysMax = 4096

    public var keyIDs: [DataKeyID] { wrappedKeys.map(\.id) }
    /// What new objects are sealed with.
    public var algorithm: CipherAlgorithm {
        guard let key = wrappedKeys.first(where: { $0.id == currentKeyID }) else {
            preconditionFailure("the current key is in the superblock")
        }
        return key.algorithm
    }
}
