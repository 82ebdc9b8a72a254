/// Counts durations in buckets whose width grows with the value: sixteen to each power of two, so that a percentile is
/// at most 6.25 % above the true one. About 5 KiB; from 1 ns to 2.4 hours, longer ones count as the longest.
///
/// A value: its owner guards it, and copies it out to read it. After HdrHistogram (Tene).
public struct LatencyHistogram: Sendable, Equatable {
    private static let subBits: UInt64 = 4
    private static let subCount: UInt64 = 1 << subBits
    private static let valueBits: UInt64 = 43
    private static let largest: UInt64 = 1 << valueBits - 1
    static let bucketCount = bucket(of: largest) + 1

    private var buckets = [UInt64](repeating: 0, count: bucketCount)
    /// Durations recorded.
    public private(set) var count: UInt64 = 0
    /// Their sum in nanoseconds.
    public private(set) var sum: UInt64 = 0
    /// The longest in nanoseconds, exactly; 0 when there is none.
    public private(set) var max: UInt64 = 0

    public init() {}

    /// - Parameter times: how many operations took that long.
    public mutating func record(nanoseconds: UInt64, times: UInt64 = 1) {
        buckets[Self.bucket(of: Swift.min(nanoseconds, Self.largest))] += times
        count += times
        sum &+= nanoseconds &* times
        max = Swift.max(max, nanoseconds)
    }

    public mutating func merge(_ other: Self) {
        for index in buckets.indices { buckets[index] += other.buckets[index] }
        count += other.count
        sum &+= other.sum
        max = Swift.max(max, other.max)
    }

    /// Nanoseconds that `fraction` (0...1) of the durations do not exceed, by the bucket's upper end; 0 when empty.
    public func quantile(_ fraction: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let rank = Swift.max(1, UInt64((Swift.min(Swift.max(fraction, 0), 1) * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for (index, bucket) in buckets.enumerated() where bucket > 0 {
            seen += bucket
            if seen >= rank { return Swift.min(Self.upperEnd(of: index), max) }
        }
        return max
    }
    /// Durations of at most `nanoseconds`; exact where that is one less than a power of two.
    public func count(upTo nanoseconds: UInt64) -> UInt64 {
        let last = Self.bucket(of: Swift.min(nanoseconds, Self.largest))
        let isWhole = Self.upperEnd(of: last) <= nanoseconds
        return buckets[..<(isWhole ? last + 1 : last)].reduce(0, +)
    }
    public var mean: UInt64 { count == 0 ? 0 : sum / count }
    public var p50: UInt64 { quantile(0.5) }
    public var p99: UInt64 { quantile(0.99) }
    public var p999: UInt64 { quantile(0.999) }

    /// Values below 16 have a bucket each; above, the top five bits choose it.
    static func bucket(of value: UInt64) -> Int {
        guard value >= subCount else { return Int(value) }
        let exponent = UInt64(63 - value.leadingZeroBitCount) - subBits
        return Int(exponent * subCount + value >> exponent)
    }
    static func upperEnd(of bucket: Int) -> UInt64 {
        let index = UInt64(bucket)
        guard index >= 2 * subCount else { return index }
        let exponent = index / subCount - 1
        return (index - exponent * subCount + 1) << exponent - 1
    }
}
