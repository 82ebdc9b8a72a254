public import StoreCore

/// Keys: the passphrase (scrypt) or key file (HKDF) and the salt give the key-encryption key. From that, HKDF gives the
/// key that authenticates the superblock, and one key per data key that wraps it.
///
/// Everything here blocks for as long as scrypt takes, about 0.4 s: not for the cooperative pool.
extension Superblock {
    /// A new store's superblock with one fresh data key.
    ///
    /// - Parameter cost: of a passphrase's guess; meaningless for a key file.
    public static func create(
        unlock: Unlock, algorithm: CipherAlgorithm = .chaCha20Poly1305, cost: ScryptCost = .standard,
        storeID: UInt128 = .random(in: .min ... .max), created: Timestamp = SystemTime().now()
    ) throws(StorageError) -> (Superblock, KeyRing) {
        let keys = KeyRing.generate(algorithm: algorithm)
        let superblock = try Superblock(
            wrapping: keys, for: unlock, cost: cost, storeID: storeID, number: 1, created: created)
        return (superblock, keys)
    }

    /// The store's keys. Throws `denied` with one clear line for the wrong passphrase or key file, or the wrong kind of
    /// the two.
    public func unlock(_ unlock: Unlock) throws(StorageError) -> KeyRing {
        let master = try masterKey(unlock)
        let expected = HMACSHA256.authenticate(authenticatedBytes, key: try Self.authenticationKey(master, salt))
        guard HMACSHA256.areEqual(expected, authenticator) else { throw wrongKey(unlock) }
        var keys: [DataKeyID: KeyRing.Key] = [:]
        for wrapped in wrappedKeys {
            let secret = try wrapped.unwrap(under: master, storeID: storeID)
            keys[wrapped.id] = KeyRing.Key(algorithm: wrapped.algorithm, secret: secret)
        }
        return KeyRing(keys: keys, current: currentKeyID)
    }

    /// The next superblock: the same keys under another passphrase or key file. Objects stay as they are.
    ///
    /// Whoever knows the old passphrase and kept the old superblock still reads them: for that, add a key, and rewrite.
    public func rewrapped(
        from old: Unlock, to new: Unlock, cost: ScryptCost = .standard
    ) throws(StorageError) -> Superblock {
        try next(try unlock(old), for: new, cost: cost)
    }

    /// The next superblock: with one more data key, which becomes the current one; objects under older keys stay
    /// readable.
    /// - Parameter algorithm: nil keeps that of the current key.
    public func addingKey(
        _ unlock: Unlock, algorithm: CipherAlgorithm? = nil
    ) throws(StorageError) -> (Superblock, KeyRing) {
        guard wrappedKeys.count < Self.keysMax, let last = wrappedKeys.last, last.id.value < .max else {
            throw StorageError(.full, "the superblock holds \(wrappedKeys.count) data keys already")
        }
        let known = try self.unlock(unlock)
        let added = DataKeyID(last.id.value + 1)
        let secret = try SecretBytes.random(count: ObjectKey.byteCount, placement: .locked)
        let key = KeyRing.Key(algorithm: algorithm ?? self.algorithm, secret: secret)
        return try wrapped(KeyRing(keys: known.keys.merging([added: key]) { $1 }, current: added), unlock)
    }

    /// The next superblock: without some of the keys. What is sealed under them opens never again. The current key
    /// stays, so that no number is given twice. Traps where it is among them.
    public func retiring(_ ids: Set<DataKeyID>, _ unlock: Unlock) throws(StorageError) -> (Superblock, KeyRing) {
        precondition(!ids.contains(currentKeyID), "the current key is not retired")
        let known = try self.unlock(unlock)
        return try wrapped(KeyRing(keys: known.keys.filter { !ids.contains($0.key) }, current: currentKeyID), unlock)
    }

    private func wrapped(_ keys: KeyRing, _ unlock: Unlock) throws(StorageError) -> (Superblock, KeyRing) {
        let cost = if case .passphrase(let cost) = method { cost } else { ScryptCost.standard }
        return (try next(keys, for: unlock, cost: cost), keys)
    }
    private func next(_ keys: KeyRing, for unlock: Unlock, cost: ScryptCost) throws(StorageError) -> Superblock {
        try Superblock(
            wrapping: keys, for: unlock, cost: cost, storeID: storeID, number: number + 1, created: created)
    }

    private init(
        wrapping keys: KeyRing, for unlock: Unlock, cost: ScryptCost, storeID: UInt128, number: UInt64,
        created: Timestamp
    ) throws(StorageError) {
        try self.init(
            wrapping: keys, for: unlock, cost: cost, storeID: storeID, number: number, created: created,
            salt: .random(), keySalt: { _ in .random() })
    }
    /// For golden tests: a salt must never be used twice.
    init(
        wrapping keys: KeyRing, for unlock: Unlock, cost: ScryptCost, storeID: UInt128, number: UInt64,
        created: Timestamp, salt: Salt, keySalt: (DataKeyID) -> Salt
    ) throws(StorageError) {
        guard cost.isAcceptable else { throw StorageError(.invalid, "the scrypt parameters are out of bounds") }
        let method: UnlockMethod = unlock.kind == .passphrase ? .passphrase(cost) : .keyFile
        let master = try Self.masterKey(unlock, method: method, salt: salt)
        var wrapped: [WrappedKey] = []
        for (id, key) in keys.keys.sorted(by: { $0.key < $1.key }) {
            wrapped.append(try WrappedKey(wrapping: key, id: id, under: master, storeID: storeID, salt: keySalt(id)))
        }
        let unsigned = Superblock(
            storeID: storeID, number: number, created: created, formatVersion: ObjectHeader.formatVersion,
            method: method, currentKeyID: keys.currentKeyID, salt: salt, wrappedKeys: wrapped, authenticator: [])
        self.init(
            storeID: storeID, number: number, created: created, formatVersion: unsigned.formatVersion, method: method,
            currentKeyID: keys.currentKeyID, salt: salt, wrappedKeys: wrapped,
            authenticator: HMACSHA256.authenticate(
                unsigned.authenticatedBytes, key: try Self.authenticationKey(master, salt)))
    }
}

extension Superblock {
    private func masterKey(_ unlock: Unlock) throws(StorageError) -> SecretBytes {
        switch (unlock.kind, method) {
        case (.passphrase, .passphrase), (.keyFile, .keyFile):
            return try Self.masterKey(unlock, method: method, salt: salt)
        case (.passphrase, .keyFile):
            throw StorageError(.denied, "this store is opened by a key file, not by a passphrase: give its key file")
        case (.keyFile, .passphrase):
            throw StorageError(.denied, "this store is opened by a passphrase, not by a key file: give its passphrase")
        }
    }

    /// `unlock` and `method` are of one kind.
    private static func masterKey(
        _ unlock: Unlock, method: UnlockMethod, salt: Salt
    ) throws(StorageError) -> SecretBytes {
        switch method {
        case .passphrase(let cost):
            guard let passphrase = unlock.secret else { throw StorageError(.invalid, "the passphrase is empty") }
            return try Scrypt.derive(passphrase: passphrase, salt: salt.bytes, cost: cost)
        case .keyFile:
            guard let key = unlock.secret, key.count == KeyFile.byteCount else {
                throw StorageError(
                    .invalid, "a key file holds \(KeyFile.byteCount) bytes, not \(unlock.secret?.count ?? 0)")
            }
            return try HKDF.derive(
                from: key, salt: salt.bytes, info: Array("zerofs key file 1".utf8), placement: .locked)
        }
    }

    private static func authenticationKey(_ master: SecretBytes, _ salt: Salt) throws(StorageError) -> SecretBytes {
        try HKDF.derive(from: master, salt: salt.bytes, info: Array("zerofs superblock 1".utf8))
    }

    /// The checksum was right when the superblock was read, so that damage is unlikely.
    private func wrongKey(_ unlock: Unlock) -> StorageError {
        switch unlock.kind {
        case .passphrase: StorageError(.denied, "wrong passphrase for this store")
        case .keyFile: StorageError(.denied, "wrong key file: it does not open store \(storeID.hex)")
        }
    }
}

extension Superblock.WrappedKey {
    fileprivate init(
        wrapping key: KeyRing.Key, id: DataKeyID, under master: SecretBytes, storeID: UInt128, salt: Salt
    ) throws(StorageError) {
        let wrappingKey = try Self.wrappingKey(master, storeID: storeID, id: id, algorithm: key.algorithm, salt: salt)
        let context = try ThreadContexts.current.cipher(key.algorithm, .seal)
        var sealed = [UInt8](repeating: 0, count: Self.sealedBytes)
        try key.secret.withBytes { (secret) throws(StorageError) in
            try context.seal(secret, under: wrappingKey, nonce: Nonce(position: 0), authenticating: [], into: &sealed)
        }
        self.init(id: id, algorithm: key.algorithm, salt: salt, sealed: sealed)
    }

    fileprivate func unwrap(under master: SecretBytes, storeID: UInt128) throws(StorageError) -> SecretBytes {
        let wrappingKey = try Self.wrappingKey(master, storeID: storeID, id: id, algorithm: algorithm, salt: salt)
        let context = try ThreadContexts.current.cipher(algorithm, .open)
        return try SecretBytes(count: ObjectKey.byteCount, placement: .locked) { (output) throws(StorageError) in
            let target = output.bindMemory(to: UInt8.self).baseAddress!
            let isGenuine = try sealed.span.bytes.withUnsafeBytes { (source) throws(StorageError) in
                try context.open(
                    source, under: wrappingKey, nonce: Nonce(position: 0), authenticating: [], into: target)
            }
            guard isGenuine else { throw .corrupt("superblock", "its data key \(id) does not unwrap") }
        }
    }

    /// One key per wrapping: the salt is fresh, and the nonce is always 0.
    private static func wrappingKey(
        _ master: SecretBytes, storeID: UInt128, id: DataKeyID, algorithm: CipherAlgorithm, salt: Salt
    ) throws(StorageError) -> ObjectKey {
        var info = ByteWriter()
        info.raw("zerofs data key 1".utf8)
        info.identifier(storeID)
        info.littleEndian(id.value)
        info.byte(algorithm.rawValue)
        return ObjectKey(try HKDF.derive(from: master, salt: salt.bytes, info: info.finish()))
    }
}
