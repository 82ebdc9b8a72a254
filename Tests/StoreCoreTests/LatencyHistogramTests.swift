import StoreCore
import Testing

@Suite struct LatencyHistograms {
    @Test func quantilesAreWithinOneBucketAbove() {
        var histogram = LatencyHistogram()
        for value in 1...10_000 { histogram.record(nanoseconds: UInt64(value) * 1000) }
        for (found, exact) in [(histogram.p50, 5_000_000), (histogram.p99, 9_900_000), (histogram.p999, 9_990_000)] {
            #expect(found >= UInt64(exact) && Double(found) <= Double(exact) * 1.0625)
        }
        #expect(histogram.max == 10_000_000 && histogram.count == 10_000 && histogram.mean == 5_000_500)
    }

    @Test func extremesCountAndAnEmptyOneIsZero() {
        var histogram = LatencyHistogram()
        #expect(histogram.p50 == 0 && histogram.max == 0 && histogram.mean == 0)
        histogram.record(nanoseconds: 0)
        #expect(histogram.p50 == 0)
        histogram.record(nanoseconds: .max)
        #expect(histogram.quantile(1) >= 1 << 43 - 1 && histogram.max == .max)
    }

    @Test func mergedEqualsRecordedTogether() {
        var one = LatencyHistogram(), other = LatencyHistogram(), both = LatencyHistogram()
        var random = SplitMix64(seed: 3)
        for turn in 0..<2000 {
            let value = UInt64.random(in: 0..<1 << 40, using: &random)
            if turn % 2 == 0 { one.record(nanoseconds: value) } else { other.record(nanoseconds: value) }
            both.record(nanoseconds: value)
        }
        one.merge(other)
        #expect(one == both)
    }
}
