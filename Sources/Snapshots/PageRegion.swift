import StoreCore

/// A part of the hash space: all hashes whose first `depth` bits are those of `prefix`. Halved as its page grows.
struct PageRegion: Hashable, Sendable {
    /// Bits below the first `depth` are 0.
    var prefix: UInt64
    var depth: UInt8

    static let all = PageRegion(prefix: 0, depth: 0)
    /// Rows have 64 bits of hash; no page needs to tell apart as many.
    static let depthMax: UInt8 = 48

    func contains(_ hash: UInt64) -> Bool { depth == 0 || (hash ^ prefix) >> (64 - UInt64(depth)) == 0 }
    var halves: [PageRegion] {
        [
            PageRegion(prefix: prefix, depth: depth + 1),
            PageRegion(prefix: prefix | 1 << (63 - UInt64(depth)), depth: depth + 1),
        ]
    }
    /// The hash after the last one; nil at the end of the space.
    var end: UInt64? {
        guard depth > 0 else { return nil }
        let (end, overflow) = prefix.addingReportingOverflow(1 << (64 - UInt64(depth)))
        return overflow ? nil : end
    }
    /// The parts of a `ShardedMap` that can hold rows of this region.
    var shards: Range<Int> {
        let first = Int(prefix >> 56)
        return first..<first + max(256 >> Int(depth), 1)
    }

    /// True when the regions, in their order, cover the whole space once.
    static func coverAll(_ regions: [PageRegion]) -> Bool {
        var next: UInt64? = 0
        for region in regions {
            guard region.depth <= depthMax, region.prefix == next else { return false }
            let rest = region.depth > 0 ? region.prefix << UInt64(region.depth) : region.prefix
            guard rest == 0 else { return false }
            next = region.end
        }
        return next == nil
    }
}
