import StoreCore

/// A cheap look at a sample, so that data which does not compress (already compressed, encrypted) costs little.
///
/// Two questions, cheap first. Would entropy coding alone reach 7/8? The byte frequencies answer: the sum of their
/// squares is at least n²/128 for every source of at most 7 bits per byte, since collision entropy never exceeds
/// Shannon's. Else, are there repeats? A fast level of zstd, which looks for nothing else, answers. What both miss are
/// repeats farther apart than the sample sees.
///
/// Measured at 32 KiB: noise costs 20 µs at level 1 and 5.5 µs here; compressing program code takes 160 µs, of which
/// the sample is 3.
final class CompressionProbe {
    /// Below this, compressing is as cheap as asking.
    static let worthwhileBytes = 16 << 10
    static let partBytes = 1024
    static let parts = 4
    static let sampleBytes = parts * partBytes
    private static let level: Int32 = -5
    /// n²/128, less an eighth for the luck of the sample.
    private static let collisionsMin = sampleBytes * sampleBytes / 128 * 7 / 8

    private let sample = UnsafeMutableRawBufferPointer.allocate(byteCount: sampleBytes, alignment: 16)
    private let scratch = UnsafeMutableRawBufferPointer.allocate(byteCount: sampleBytes * 7 / 8, alignment: 16)

    deinit {
        sample.deallocate()
        scratch.deallocate()
    }

    func expectsGain(_ bytes: UnsafeRawBufferPointer, _ compressor: Compressor) throws(StorageError) -> Bool {
        guard bytes.count >= Self.worthwhileBytes else { return true }
        takeSample(of: bytes)
        return collisions() >= Self.collisionsMin ? true : try repeats(compressor)
    }

    /// Four pieces, evenly spread from the first byte to the last.
    private func takeSample(of bytes: UnsafeRawBufferPointer) {
        let stride = (bytes.count - Self.partBytes) / (Self.parts - 1)
        for part in 0..<Self.parts {
            let source = UnsafeRawBufferPointer(rebasing: bytes[part * stride..<part * stride + Self.partBytes])
            UnsafeMutableRawBufferPointer(rebasing: sample[(part * Self.partBytes)...]).copyMemory(from: source)
        }
    }
    private func collisions() -> Int {
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 256) { counts in
            counts.initialize(repeating: 0)
            for byte in sample { counts[Int(byte)] += 1 }
            return counts.reduce(0) { $0 + Int($1) * Int($1) }
        }
    }
    private func repeats(_ compressor: Compressor) throws(StorageError) -> Bool {
        try compressor.compress(UnsafeRawBufferPointer(sample), level: Self.level, into: scratch) != nil
    }
}
