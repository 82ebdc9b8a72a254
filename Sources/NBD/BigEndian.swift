extension UnsafeRawPointer {
    @inline(__always)
    func bigEndian<T: FixedWidthInteger & BitwiseCopyable>(at byte: Int, as _: T.Type = T.self) -> T {
        T(bigEndian: loadUnaligned(fromByteOffset: byte, as: T.self))
    }
}

extension UnsafeMutableRawPointer {
    @inline(__always)
    func storeBigEndian<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at byte: Int) {
        storeBytes(of: value.bigEndian, toByteOffset: byte, as: T.self)
    }
}

/// Builds handshake messages.
struct BigEndianWriter {
    private(set) var bytes: [UInt8] = []

    mutating func number<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.bigEndian) { bytes.append(contentsOf: $0) }
    }
    mutating func text(_ value: String) { bytes.append(contentsOf: value.utf8) }
    mutating func raw(_ value: [UInt8]) { bytes.append(contentsOf: value) }
    mutating func zeroes(_ count: Int) { bytes.append(contentsOf: repeatElement(0, count: count)) }
}

/// Reads handshake messages; nil where the bytes end early, so that a malformed option is noticed and not trusted.
struct BigEndianReader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: [UInt8]) { rest = bytes[...] }

    var remaining: Int { rest.count }

    mutating func number<T: FixedWidthInteger>(_: T.Type = T.self) -> T? {
        let width = T.bitWidth / 8
        guard rest.count >= width else { return nil }
        defer { rest = rest.dropFirst(width) }
        return rest.prefix(width).reduce(0) { $0 << 8 | T(truncatingIfNeeded: $1) }
    }
    /// A string of the specification: UTF-8 without NUL, at most 4096 bytes.
    mutating func text(byteCount: Int) -> String? {
        guard byteCount <= NBDLimits.stringBytesMax, rest.count >= byteCount else { return nil }
        let bytes = rest.prefix(byteCount)
        rest = rest.dropFirst(byteCount)
        return bytes.contains(0) ? nil : String(validating: bytes, as: UTF8.self)
    }
    /// A 32-bit length, then so many bytes of text.
    mutating func lengthAndText() -> String? {
        guard let length = number(UInt32.self) else { return nil }
        return text(byteCount: Int(length))
    }
}
