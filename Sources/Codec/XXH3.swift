import CXXHash

/// XXH3 with 64 bits: spreads and checks against accidents (journal slots, cache entries), never against an attacker.
public enum XXH3 {
    public static func hash(_ bytes: RawSpan, seed: UInt64 = 0) -> UInt64 {
        bytes.withUnsafeBytes { XXH3_64bits_withSeed($0.baseAddress, $0.count, seed) }
    }
    public static func hash(_ bytes: [UInt8], seed: UInt64 = 0) -> UInt64 { hash(bytes.span.bytes, seed: seed) }
}
