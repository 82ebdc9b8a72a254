import StoreCore

/// 128 random bits that name a snapshot for ever, whatever it is called.
public struct SnapshotID: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var bits: UInt128
    public init(_ bits: UInt128) { self.bits = bits }
    public static func random() -> Self { Self(.random(in: .min ... .max)) }
    public static func < (a: Self, b: Self) -> Bool { a.bits < b.bits }
    public var description: String { bits.hex }
}
