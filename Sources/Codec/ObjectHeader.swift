public import StoreCore

/// What an object is. The number is on storage: append, never renumber.
public enum ObjectKind: UInt8, Sendable, CaseIterable {
    case superblock = 0, segment, run, manifest, version, catalog, catalogPage, relocation, fence, generation, journal
    case cache
}

/// How an object's frames are sealed. The number is on storage. Both have 32-byte keys, 12-byte nonces, 16-byte tags.
public enum CipherAlgorithm: UInt8, Sendable {
    case chaCha20Poly1305 = 1
    case aes256GCM = 2
}

/// The number of a data key within its store; counts up from 1 with each rotation.
public struct DataKeyID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var value: UInt32
    public init(_ value: UInt32) { self.value = value }
    public static func < (a: Self, b: Self) -> Bool { a.value < b.value }
    public var description: String { String(value) }
}

/// The plain 32 bytes that every object starts with. All of them enter the object's key, so that none can be changed.
///
///     offset size
///          0    4  magic "ZRFS"
///          4    2  format version, little-endian: 1
///          6    1  kind
///          7    1  cipher algorithm
///          8    4  data key id, little-endian
///         12    4  reserved: 0
///         16   16  salt, fresh for each sealing
public struct ObjectHeader: Hashable, Sendable {
    public static let byteCount = 32
    public static let magic: [UInt8] = Array("ZRFS".utf8)
    public static let formatVersion: UInt16 = 1
    /// The part that goes into the key's derivation as text; the rest is the salt.
    static let boundBytes = 16

    public var kind: ObjectKind
    public var algorithm: CipherAlgorithm
    public var keyID: DataKeyID
    public var salt: Salt

    public init(kind: ObjectKind, algorithm: CipherAlgorithm, keyID: DataKeyID, salt: Salt) {
        self.kind = kind
        self.algorithm = algorithm
        self.keyID = keyID
        self.salt = salt
    }

    public var bytes: [UInt8] {
        var writer = ByteWriter(reserving: Self.byteCount)
        writer.raw(Self.magic)
        writer.littleEndian(Self.formatVersion)
        writer.byte(kind.rawValue)
        writer.byte(algorithm.rawValue)
        writer.littleEndian(keyID.value)
        writer.littleEndian(UInt32(0))
        writer.salt(salt)
        return writer.finish()
    }

    /// Reads the first 32 of `bytes`; what follows them is not looked at.
    ///
    /// Throws `unsupported` for a newer format, else `corrupt`, which names `object`.
    public init(decoding bytes: ArraySlice<UInt8>, expecting kind: ObjectKind, object: String) throws(StorageError) {
        var reader = ByteReader(bytes, object: object)
        guard try reader.raw(4).elementsEqual(Self.magic) else {
            throw .corrupt(object, at: 0, "it is no zerofs object")
        }
        let version = try reader.littleEndian(UInt16.self)
        guard version <= Self.formatVersion else {
            throw StorageError(
                .unsupported,
                """
                object \(object) has format version \(version), this zerofs reads up to \(Self.formatVersion): \
                use a newer zerofs
                """)
        }
        guard version > 0 else { throw .corrupt(object, at: 4, "format version 0 does not exist") }
        let found = try reader.byte()
        guard found == kind.rawValue else {
            let actual = ObjectKind(rawValue: found).map { "\($0)" } ?? "\(found)"
            throw .corrupt(object, at: 6, "it is of another kind", expected: "\(kind)", actual: actual)
        }
        let cipher = try reader.byte()
        guard let algorithm = CipherAlgorithm(rawValue: cipher) else {
            throw .corrupt(object, at: 7, "cipher algorithm \(cipher) does not exist")
        }
        let keyID = DataKeyID(try reader.littleEndian())
        guard try reader.littleEndian(UInt32.self) == 0 else {
            throw .corrupt(object, at: 12, "reserved bytes are not zero")
        }
        self.init(kind: kind, algorithm: algorithm, keyID: keyID, salt: try reader.salt())
    }

    /// What the header says that an object is, and under which data key it was sealed; nothing of it is authenticated.
    /// nil for what has no header that this version reads. `bytes` may be the object's first 32.
    public static func peek(_ bytes: [UInt8]) -> (kind: ObjectKind, keyID: DataKeyID)? {
        guard bytes.count >= byteCount, bytes.starts(with: magic), let kind = ObjectKind(rawValue: bytes[6]) else {
            return nil
        }
        let id = bytes[8..<12].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return (kind, DataKeyID(id))
    }
}
