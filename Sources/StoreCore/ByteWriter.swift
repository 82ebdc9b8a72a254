/// Appends our format's fields: little-endian, varints as LEB128.
public struct ByteWriter: Sendable {
    public private(set) var bytes: [UInt8] = []
    public var count: Int { bytes.count }

    public init(reserving capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    @inlinable public mutating func littleEndian<T: FixedWidthInteger>(_ value: T) {
        var rest = value
        for _ in 0..<(T.bitWidth / 8) {
            byte(UInt8(truncatingIfNeeded: rest))
            if T.bitWidth > 8 { rest >>= 8 }
        }
    }
    public mutating func byte(_ value: UInt8) { bytes.append(value) }
    public mutating func raw(_ value: some Sequence<UInt8>) { bytes.append(contentsOf: value) }

    /// Unsigned LEB128: seven bits a byte, the lowest first; at most ten bytes.
    public mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
    /// Zigzag, then varint: small for numbers near zero of either sign.
    public mutating func signedVarint(_ value: Int64) {
        varint(UInt64(bitPattern: (value << 1) ^ (value >> 63)))
    }
    /// Length as a varint, then UTF-8.
    public mutating func string(_ value: String) {
        varint(UInt64(value.utf8.count))
        raw(value.utf8)
    }
    public mutating func digest(_ value: Digest) { raw(value.bytes) }
    public mutating func salt(_ value: Salt) { raw(value.bytes) }
    /// An identifier of 128 bits, big-endian as it prints.
    public mutating func identifier(_ bits: UInt128) { raw(bits.bigEndianBytes) }
    /// Nanoseconds since 1970, 8 bytes.
    public mutating func timestamp(_ time: Timestamp) { littleEndian(time.nanoseconds) }
    public consuming func finish() -> [UInt8] { bytes }
}
