public import StoreCore

/// The superblock's bytes. It is the one object that is plain, because it is what leads to the keys:
///
///     offset size
///          0   32  object header: kind 0, the current key's algorithm and id, the salt of the derivations below
///         32   16  store id, big-endian
///         48    8  number, from 1, little-endian: that of its name
///         56    8  created, nanoseconds since 1970, little-endian
///         64    1  unlocked by: 1 passphrase, 2 key file
///         65    1  scrypt: log2 N   }
///         66    1  scrypt: r        } 0 for a key file
///         67    1  scrypt: p        }
///         68    2  number of keys n, little-endian
///         70    2  reserved: 0
///         72  72n  keys, ascending by id:
///                    0   4  id, little-endian
///                    4   1  algorithm
///                    5   3  reserved: 0
///                    8  16  salt
///                   24  48  data key, sealed, with its tag
///     72+72n   32  HMAC-SHA256 of all before, under a key from the passphrase or key file
///    104+72n    8  XXH3 of all before, little-endian: tells damage from a wrong key, and proves nothing
extension Superblock {
    static let fixedBytes = 72
    private static let name = "superblock"

    public func encode() -> [UInt8] {
        var writer = ByteWriter()
        writer.raw(authenticatedBytes)
        writer.raw(authenticator)
        writer.littleEndian(XXH3.hash(writer.bytes))
        return writer.finish()
    }

    var authenticatedBytes: [UInt8] {
        var writer = ByteWriter(reserving: Self.fixedBytes + wrappedKeys.count * WrappedKey.encodedBytes)
        writer.raw(ObjectHeader(kind: .superblock, algorithm: algorithm, keyID: currentKeyID, salt: salt).bytes)
        writer.identifier(storeID)
        writer.littleEndian(number)
        writer.timestamp(created)
        writer.raw(method.bytes)
        writer.littleEndian(UInt16(wrappedKeys.count))
        writer.littleEndian(UInt16(0))
        for key in wrappedKeys { key.encode(to: &writer) }
        return writer.finish()
    }

    /// Throws `unsupported` for a newer format, `corrupt` for damage. What it returns is well formed, and not yet
    /// authenticated: `unlock` does that.
    public init(decoding bytes: [UInt8]) throws(StorageError) {
        let header = try ObjectHeader(decoding: bytes[...], expecting: .superblock, object: Self.name)
        var reader = ByteReader(try Self.checked(bytes), object: Self.name)
        _ = try reader.raw(ObjectHeader.byteCount)
        let storeID = try reader.identifier()
        let number = try reader.littleEndian(UInt64.self)
        guard (1..<UInt64.max).contains(number) else { throw reader.corrupt("its number \(number) does not exist") }
        let created = try reader.timestamp()
        let method = try UnlockMethod(from: &reader)
        let count = Int(try reader.littleEndian(UInt16.self))
        guard try reader.littleEndian(UInt16.self) == 0 else { throw reader.corrupt("reserved bytes are not zero") }
        guard (1...Self.keysMax).contains(count) else { throw reader.corrupt("it claims \(count) keys") }
        var keys: [WrappedKey] = []
        for _ in 0..<count {
            let key = try WrappedKey(from: &reader)
            guard keys.last.map({ $0.id < key.id }) ?? true else { throw reader.corrupt("its keys are out of order") }
            keys.append(key)
        }
        guard keys.contains(where: { $0.id == header.keyID && $0.algorithm == header.algorithm }) else {
            throw reader.corrupt("its current key \(header.keyID) is not among its keys")
        }
        let authenticator = Array(try reader.raw(HMACSHA256.byteCount))
        try reader.finish()
        self.init(
            storeID: storeID, number: number, created: created, formatVersion: ObjectHeader.formatVersion,
            method: method,
            currentKeyID: header.keyID, salt: header.salt, wrappedKeys: keys, authenticator: authenticator)
    }

    /// All but the checksum, which must be right.
    private static func checked(_ bytes: [UInt8]) throws(StorageError) -> ArraySlice<UInt8> {
        guard bytes.count >= fixedBytes + WrappedKey.encodedBytes + HMACSHA256.byteCount + 8 else {
            throw .corrupt(name, "it ends early, after \(bytes.count) bytes")
        }
        let content = bytes.dropLast(8)
        var reader = ByteReader(bytes.suffix(8), object: name)
        guard try reader.littleEndian(UInt64.self) == XXH3.hash(content.span.bytes) else {
            throw .corrupt(name, at: UInt64(content.count), "its checksum is wrong")
        }
        return content
    }
}

extension UnlockMethod {
    fileprivate var bytes: [UInt8] {
        switch self {
        case .passphrase(let cost): [1, cost.logN, cost.blockSize, cost.parallelism]
        case .keyFile: [2, 0, 0, 0]
        }
    }
    fileprivate init(from reader: inout ByteReader) throws(StorageError) {
        let method = try reader.byte()
        let cost = ScryptCost(logN: try reader.byte(), blockSize: try reader.byte(), parallelism: try reader.byte())
        switch method {
        case 1:
            guard cost.isAcceptable else { throw reader.corrupt("its scrypt parameters are out of bounds") }
            self = .passphrase(cost)
        case 2:
            guard cost == ScryptCost(logN: 0, blockSize: 0, parallelism: 0) else {
                throw reader.corrupt("it has scrypt parameters without a passphrase")
            }
            self = .keyFile
        default: throw reader.corrupt("unlock method \(method) does not exist")
        }
    }
}

extension Superblock.WrappedKey {
    fileprivate func encode(to writer: inout ByteWriter) {
        writer.littleEndian(id.value)
        writer.byte(algorithm.rawValue)
        writer.raw([0, 0, 0])
        writer.salt(salt)
        writer.raw(sealed)
    }
    fileprivate init(from reader: inout ByteReader) throws(StorageError) {
        id = DataKeyID(try reader.littleEndian())
        let number = try reader.byte()
        guard let algorithm = CipherAlgorithm(rawValue: number) else {
            throw reader.corrupt("cipher algorithm \(number) does not exist")
        }
        self.algorithm = algorithm
        guard try reader.raw(3).allSatisfy({ $0 == 0 }) else { throw reader.corrupt("reserved bytes are not zero") }
        salt = try reader.salt()
        sealed = Array(try reader.raw(Self.sealedBytes))
    }
}
