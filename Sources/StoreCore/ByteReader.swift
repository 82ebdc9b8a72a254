/// Reads our format's fields from bytes that may be hostile: every read checks what is left and throws `corrupt`,
/// and no count read from the input allocates before the bytes for it were seen.
public struct ByteReader {
    private let bytes: ArraySlice<UInt8>
    private var position: Int
    private let object: String

    /// - Parameter object: the object's key, for the error's text.
    public init(_ bytes: [UInt8], object: String) { self.init(bytes[...], object: object) }
    public init(_ bytes: ArraySlice<UInt8>, object: String) {
        self.bytes = bytes
        self.position = bytes.startIndex
        self.object = object
    }

    public var remaining: Int { bytes.endIndex - position }
    /// Bytes read so far.
    public var offset: Int { position - bytes.startIndex }

    public func corrupt(_ what: String) -> StorageError { .corrupt(object, at: UInt64(offset), what) }

    private mutating func take(_ count: Int) throws(StorageError) -> ArraySlice<UInt8> {
        guard count >= 0, count <= remaining else { throw corrupt("it ends \(count - remaining) bytes early") }
        defer { position += count }
        return bytes[position..<position + count]
    }
    public mutating func byte() throws(StorageError) -> UInt8 {
        guard position < bytes.endIndex else { throw corrupt("it ends 1 byte early") }
        defer { position += 1 }
        return bytes[position]
    }
    public mutating func littleEndian<T: FixedWidthInteger>(_: T.Type = T.self) throws(StorageError) -> T {
        var value: T = 0
        var shift = 0
        for part in try take(T.bitWidth / 8) {
            value |= T(truncatingIfNeeded: part) << T(truncatingIfNeeded: shift)
            shift += 8
        }
        return value
    }
    public mutating func varint() throws(StorageError) -> UInt64 {
        var value: UInt64 = 0
        for shift in stride(from: UInt64(0), through: 63, by: 7) {
            let part = try byte()
            if shift == 63, part > 1 { break }
            value |= UInt64(part & 0x7f) << shift
            if part & 0x80 == 0 { return value }
        }
        throw corrupt("a number has more than 64 bits")
    }
    public mutating func signedVarint() throws(StorageError) -> Int64 {
        let value = try varint()
        return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1)
    }
    /// A count of things of at least `bytesEach` bytes; refused when the input cannot hold that many.
    public mutating func count(bytesEach: Int) throws(StorageError) -> Int {
        let value = try varint()
        guard value <= UInt64(remaining / max(bytesEach, 1)) else {
            throw corrupt("a count of \(value) exceeds the object")
        }
        return Int(value)
    }
    public mutating func raw(_ count: Int) throws(StorageError) -> ArraySlice<UInt8> { try take(count) }
    public mutating func string() throws(StorageError) -> String {
        let length = try count(bytesEach: 1)
        guard let text = String(validating: try take(length), as: UTF8.self) else {
            throw corrupt("a text is not UTF-8")
        }
        return text
    }
    public mutating func digest() throws(StorageError) -> Digest { Digest(bytes: try take(32)) }
    public mutating func salt() throws(StorageError) -> Salt { Salt(try identifier()) }
    /// 128 bits, big-endian as they print.
    public mutating func identifier() throws(StorageError) -> UInt128 {
        try take(16).reduce(0) { $0 << 8 | UInt128($1) }
    }
    public mutating func timestamp() throws(StorageError) -> Timestamp {
        Timestamp(nanoseconds: try littleEndian())
    }
    /// A layout's first byte. A higher one than ours was written by a newer zerofs, which may mean things that we would
    /// drop when we write the next version: it is refused as `unsupported`.
    public mutating func revision(upTo known: UInt8) throws(StorageError) {
        let found = try byte()
        guard found != 0 else { throw corrupt("layout revision 0 does not exist") }
        guard found <= known else {
            throw StorageError(
                .unsupported,
                "object \(object) has layout revision \(found), this zerofs reads up to \(known): use a newer zerofs")
        }
    }
    /// Demands that everything was read: trailing bytes are damage.
    public func finish() throws(StorageError) {
        guard remaining == 0 else { throw corrupt("\(remaining) bytes follow its end") }
    }
}
