public import StoreCore

/// Whole small objects (manifests, catalog pages, fences): the header, then one frame with everything.
///
///     offset size
///          0   32  object header
///         32    1  0 raw, 1 zstd                    }
///         33    4  zstd only: length before, LE     } sealed as one frame at position 32
///                  payload                          }
///               16  tag
public enum Envelope {
    private enum Encoding: UInt8 { case raw = 0, zstd = 1 }
    static let overheadBytes = ObjectHeader.byteCount + 5 + ObjectCipher.tagBytes

    public static func seal(
        _ payload: [UInt8], kind: ObjectKind, identity: String, keys: KeyRing
    ) throws(StorageError) -> [UInt8] {
        try seal(payload, with: try keys.sealing(kind, identity: identity), identity: identity)
    }
    static func seal(_ payload: [UInt8], with cipher: ObjectCipher, identity: String) throws(StorageError) -> [UInt8] {
        guard payload.count <= Limits.metadataObjectBytesMax else {
            throw StorageError(
                .full,
                "object \(identity) would have \(payload.count) bytes, the limit is \(Limits.metadataObjectBytesMax)")
        }
        let plaintext = try encoded(payload)
        var object: [UInt8] = []
        object.reserveCapacity(ObjectHeader.byteCount + plaintext.count + ObjectCipher.tagBytes)
        object += cipher.header.bytes
        try cipher.seal(plaintext, at: UInt64(ObjectHeader.byteCount), appendingTo: &object)
        return object
    }

    /// Throws `corrupt` for whatever is not exactly what was sealed under this kind and identity, `unsupported` for a
    /// newer format, `denied` for a key that the ring lacks.
    ///
    /// - Parameter name: the object's for errors, where that is more than its identity.
    public static func open(
        _ object: [UInt8], kind: ObjectKind, identity: String, name: String? = nil, keys: KeyRing
    ) throws(StorageError) -> [UInt8] {
        let name = name ?? identity
        let header = try ObjectHeader(decoding: object[...], expecting: kind, object: name)
        guard object.count <= Limits.metadataObjectBytesMax + overheadBytes else {
            throw .corrupt(name, "its \(object.count) bytes exceed the limit")
        }
        let cipher = try keys.opening(header, identity: identity, object: name)
        let plaintext = try cipher.open(
            object[ObjectHeader.byteCount...], at: UInt64(ObjectHeader.byteCount), object: name)
        return try decoded(plaintext, object: name)
    }

    private static func encoded(_ payload: [UInt8]) throws(StorageError) -> [UInt8] {
        var writer = ByteWriter(reserving: payload.count + 5)
        if let compressed = try Compression.compress(payload) {
            writer.byte(Encoding.zstd.rawValue)
            writer.littleEndian(UInt32(payload.count))
            writer.raw(compressed)
        } else {
            writer.byte(Encoding.raw.rawValue)
            writer.raw(payload)
        }
        return writer.finish()
    }
    private static func decoded(_ plaintext: [UInt8], object: String) throws(StorageError) -> [UInt8] {
        var reader = ByteReader(plaintext, object: object)
        let flag = try reader.byte()
        switch Encoding(rawValue: flag) {
        case .raw: return Array(try reader.raw(reader.remaining))
        case .zstd:
            let count = Int(try reader.littleEndian(UInt32.self))
            return try Compression.decompress(try reader.raw(reader.remaining), originalBytes: count, object: object)
        case nil: throw .corrupt(object, at: UInt64(ObjectHeader.byteCount), "payload encoding \(flag) does not exist")
        }
    }
}
