/// 128 random bits that name a volume for ever; a name is given once and never again.
public struct VolumeID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var bits: UInt128
    public init(_ bits: UInt128) { self.bits = bits }
    public init?(hex: some StringProtocol) {
        guard hex.utf8.count == 32, let bits = UInt128(hex, radix: 16) else { return nil }
        self.bits = bits
    }
    public static func random() -> Self { Self(.random(in: .min ... .max)) }
    public static func < (a: Self, b: Self) -> Bool { a.bits < b.bits }
    public var description: String { bits.hex }
}

/// Proves which opening of a volume (which data directory) a claim or a journal belongs to.
public struct OwnerToken: Hashable, Sendable, CustomStringConvertible {
    public var bits: UInt128
    public init(_ bits: UInt128) { self.bits = bits }
    public static func random() -> Self { Self(.random(in: .min ... .max)) }
    public var description: String { bits.hex }
}

/// Names one operation for ever, so that who gets an ambiguous answer can look whether it happened.
public struct OperationID: Hashable, Sendable, CustomStringConvertible {
    public var bits: UInt128
    public init(_ bits: UInt128) { self.bits = bits }
    public static func random() -> Self { Self(.random(in: .min ... .max)) }
    public var description: String { bits.hex }
}

/// Counts the openings for writing of a volume. A stale writer holds a lower one and must lose every race.
public struct Epoch: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var value: UInt64
    public init(_ value: UInt64) { self.value = value }
    public static func < (a: Self, b: Self) -> Bool { a.value < b.value }
    public var next: Self { Self(value + 1) }
    public var description: String { String(value) }
}

/// The number of a segment within one epoch of one volume, from 1.
public struct SegmentSequence: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var value: UInt64
    public init(_ value: UInt64) { self.value = value }
    public static func < (a: Self, b: Self) -> Bool { a.value < b.value }
    public var next: Self { Self(value + 1) }
    public var description: String { String(value) }
}

/// Counts the writes of a volume, across epochs, in the order in which they were applied; the first is 1.
public struct WriteSequence: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var value: UInt64
    public init(_ value: UInt64) { self.value = value }
    public static func < (a: Self, b: Self) -> Bool { a.value < b.value }
    public var next: Self { Self(value + 1) }
    public var description: String { String(value) }
}

/// A place in a volume's log: everything up to and including this segment. Ordered by epoch, then sequence.
/// Sequence 0 stands before the first segment of its epoch.
public struct LogPosition: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var epoch: Epoch
    public var sequence: SegmentSequence
    public init(epoch: Epoch, sequence: SegmentSequence) {
        self.epoch = epoch
        self.sequence = sequence
    }
    public static func < (a: Self, b: Self) -> Bool { (a.epoch, a.sequence) < (b.epoch, b.sequence) }
    public var description: String { "\(epoch)/\(sequence)" }
}

/// A SHA-256 digest.
public struct Digest: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var high: UInt128
    public var low: UInt128
    public init(high: UInt128, low: UInt128) {
        self.high = high
        self.low = low
    }
    /// Big-endian, as SHA-256 prints; traps unless there are 32 bytes.
    public init(bytes: some Collection<UInt8>) {
        precondition(bytes.count == 32, "a digest is 32 bytes")
        func number(_ part: some Sequence<UInt8>) -> UInt128 { part.reduce(0) { $0 << 8 | UInt128($1) } }
        self.init(high: number(bytes.prefix(16)), low: number(bytes.dropFirst(16)))
    }
    public init?(hex: some StringProtocol) {
        guard hex.utf8.count == 64, let high = UInt128(hex.prefix(32), radix: 16),
            let low = UInt128(hex.suffix(32), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }
    public static let zero = Digest(high: 0, low: 0)
    public static func < (a: Self, b: Self) -> Bool { (a.high, a.low) < (b.high, b.low) }
    public var bytes: [UInt8] { high.bigEndianBytes + low.bigEndianBytes }
    public var description: String { high.hex + low.hex }
}

/// 128 fresh random bits per sealing: no two sealings share a key, even of rivals for one name.
public struct Salt: Hashable, Sendable, CustomStringConvertible {
    public var bits: UInt128
    public init(_ bits: UInt128) { self.bits = bits }
    public static func random() -> Self { Self(.random(in: .min ... .max)) }
    public var bytes: [UInt8] { bits.bigEndianBytes }
    public var description: String { bits.hex }
}

extension UInt128 {
    /// 32 lower-case hexadecimal digits.
    public var hex: String {
        UInt64(truncatingIfNeeded: self >> 64).hex + UInt64(truncatingIfNeeded: self).hex
    }
    public var bigEndianBytes: [UInt8] { (0..<16).map { UInt8(truncatingIfNeeded: self >> (120 - 8 * UInt128($0))) } }
}

extension UInt64 {
    /// 16 lower-case hexadecimal digits, so that text order is number order.
    public var hex: String {
        // Digit by digit: the library's radix conversion divides, and every request to S3 prints digests.
        let digits = (0..<16).map { place -> UInt8 in
            let digit = UInt8(truncatingIfNeeded: self >> (60 - 4 * UInt64(place))) & 15
            return digit < 10 ? 0x30 + digit : 0x57 + digit
        }
        return String(decoding: digits, as: UTF8.self)
    }
}
