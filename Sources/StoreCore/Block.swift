/// The grain of the map and of everything below NBD: 4 KiB.
public let blockBytes = 4096

/// The number of a block of a volume: byte offset / 4096.
public struct BlockIndex: Hashable, Comparable, Sendable, CustomStringConvertible {
    public var value: UInt64
    @inlinable public init(_ value: UInt64) { self.value = value }
    @inlinable public static func < (a: Self, b: Self) -> Bool { a.value < b.value }
    @inlinable public static func + (a: Self, count: UInt64) -> Self { Self(a.value + count) }
    /// Blocks from `b` up to `a`; traps when `a` lies before `b`.
    @inlinable public static func - (a: Self, b: Self) -> UInt64 { a.value - b.value }
    @inlinable public var byteOffset: UInt64 { value * UInt64(blockBytes) }
    public var description: String { String(value) }
}

/// A half-open range of blocks, `first ..< end`; may be empty.
public struct BlockRange: Hashable, Sendable, CustomStringConvertible {
    public var first: BlockIndex
    public var count: UInt64

    @inlinable public init(first: BlockIndex, count: UInt64) {
        self.first = first
        self.count = count
    }
    @inlinable public init(_ first: BlockIndex, upTo end: BlockIndex) {
        self.init(first: first, count: end - first)
    }
    @inlinable public var end: BlockIndex { first + count }
    @inlinable public var isEmpty: Bool { count == 0 }
    @inlinable public var byteOffset: UInt64 { first.byteOffset }
    @inlinable public var byteCount: UInt64 { count * UInt64(blockBytes) }

    @inlinable public func contains(_ block: BlockIndex) -> Bool { first <= block && block < end }
    @inlinable public func contains(_ other: BlockRange) -> Bool {
        other.isEmpty || (first <= other.first && other.end <= end)
    }
    @inlinable public func overlaps(_ other: BlockRange) -> Bool {
        first < other.end && other.first < end && !isEmpty && !other.isEmpty
    }
    /// The common part; empty (count 0) where there is none.
    @inlinable public func intersection(_ other: BlockRange) -> BlockRange {
        let from = max(first, other.first), to = min(end, other.end)
        return from < to ? BlockRange(from, upTo: to) : BlockRange(first: from, count: 0)
    }
    /// The blocks that a byte range touches, whole or in part.
    @inlinable public static func touching(byteOffset: UInt64, byteCount: UInt64) -> BlockRange {
        guard byteCount > 0 else { return BlockRange(first: BlockIndex(byteOffset / UInt64(blockBytes)), count: 0) }
        let from = byteOffset / UInt64(blockBytes)
        let to = (byteOffset + byteCount - 1) / UInt64(blockBytes) + 1
        return BlockRange(first: BlockIndex(from), count: to - from)
    }
    public var description: String { "blocks \(first)..<\(end)" }
}
