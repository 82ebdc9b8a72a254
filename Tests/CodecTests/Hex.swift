@testable import Codec

/// Bytes from hexadecimal text; spaces and newlines are ignored.
func hex(_ text: String) -> [UInt8] {
    let digits = text.filter { !$0.isWhitespace }.map { UInt8($0.hexDigitValue!) }
    precondition(digits.count % 2 == 0)
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

func hex(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

/// Bytes that do not compress and are the same in every run.
func noise(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var state = seed
    return (0..<count).map { _ in
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return UInt8(truncatingIfNeeded: state >> 33)
    }
}

/// A ring whose one key is the bytes 0, 1, 2 … 31.
func fixedRing(_ algorithm: CipherAlgorithm = .chaCha20Poly1305) -> KeyRing {
    let secret = SecretBytes(copying: (0..<32).map { UInt8($0) })
    return KeyRing(keys: [DataKeyID(1): .init(algorithm: algorithm, secret: secret)], current: DataKeyID(1))
}
