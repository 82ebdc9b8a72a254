import StoreCore
import Testing

@testable import Codec

@Suite struct CompressionPaysOrStaysOut {
    @Test(arguments: [1, 8, 4096, 32 << 10, 128 << 10, 1 << 20])
    func whatRepeatsComesBackExactly(count: Int) throws {
        let text = (0..<count).map { UInt8(truncatingIfNeeded: $0 / 7 % 50) }
        guard let compressed = try Compression.compress(text) else {
            #expect(count < 64)
            return
        }
        #expect(compressed.count <= count * 7 / 8)
        #expect(try Compression.decompress(compressed[...], originalBytes: count, object: "o") == text)
    }

    @Test(arguments: [0, 1, 4096, 128 << 10])
    func noiseStaysRaw(count: Int) throws { #expect(try Compression.compress(noise(count)) == nil) }

    /// The sample must not talk zstd out of what it can do.
    @Test(arguments: [16 << 10, 32 << 10, 128 << 10])
    func theProbeLetsThroughWhatCompresses(count: Int) throws {
        let hexDigits = noise(count).map { Array("0123456789abcdef".utf8)[Int($0 & 15)] }
        let sevenBits = noise(count).map { $0 & 0x3f }
        let repeats = (0..<count / 256).flatMap { _ in noise(256) }
        let halfNoise = noise(count / 2) + [UInt8](repeating: 0, count: count / 2)
        let pages = (0..<count / 1024).flatMap { [UInt8](repeating: 0, count: 256) + noise(768, seed: UInt64($0)) }
        for data in [hexDigits, sevenBits, repeats, halfNoise, pages] {
            let compressed = try #require(try Compression.compress(data))
            #expect(try Compression.decompress(compressed[...], originalBytes: count, object: "o") == data)
        }
    }

    @Test func anotherLengthIsDamage() throws {
        let compressed = try #require(try Compression.compress([UInt8](repeating: 1, count: 4096)))
        for claim in [-1, 0, 4095, 4097, Compression.pieceBytesMax, Compression.pieceBytesMax + 1, Int.max] {
            let error = #expect(throws: StorageError.self) {
                try Compression.decompress(compressed[...], originalBytes: claim, object: "o")
            }
            #expect(error?.code == .corrupt)
        }
    }

    /// The claim is refused for what it is, before memory is taken for it or zstd is asked.
    @Test func aFewBytesCannotClaimMuch() throws {
        let compressed = try #require(try Compression.compress([UInt8](repeating: 1, count: 4096)))
        #expect(compressed.count < 100)
        let most = compressed.count * Compression.gainMax
        #expect(most < Compression.pieceBytesMax)
        for claim in [most + 1, Compression.pieceBytesMax] {
            #expect(try problem(compressed, claim).contains("compressed data claims \(claim) bytes"))
        }
        #expect(try !problem(compressed, most).contains("claims"))
        // zstd itself does not gain more than that.
        let zeroes = [UInt8](repeating: 0, count: Compression.pieceBytesMax)
        let smallest = try #require(try Compression.compress(zeroes))
        #expect(try Compression.decompress(smallest[...], originalBytes: zeroes.count, object: "o") == zeroes)
    }
    private func problem(_ compressed: [UInt8], _ claim: Int) throws -> String {
        let error = #expect(throws: StorageError.self) {
            try Compression.decompress(compressed[...], originalBytes: claim, object: "o")
        }
        return try #require(error).message
    }

    @Test func garbageAndTruncationAreDamage() throws {
        let text = Array("abcabcabcabcabcabc".utf8) + noise(500) + [UInt8](repeating: 1, count: 4096)
        let compressed = try #require(try Compression.compress(text))
        for count in 0..<compressed.count {
            #expect(throws: StorageError.self) {
                try Compression.decompress(compressed[..<count], originalBytes: text.count, object: "o")
            }
        }
        #expect(throws: StorageError.self) {
            try Compression.decompress(noise(100)[...], originalBytes: 100, object: "o")
        }
    }

    /// What zstd 1.5.4 wrote must stay readable; what it writes may change.
    @Test func olderOutputStaysReadable() throws {
        let text = [UInt8](repeating: UInt8(ascii: "z"), count: 100)
        let frame = hex("28b52ffd2064450000107a7a01003f012c")
        #expect(try Compression.decompress(frame[...], originalBytes: 100, object: "o") == text)
    }
}
