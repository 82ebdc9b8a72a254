import StoreCore
import Testing

@testable import Codec

@Suite struct EnvelopeKeepsItsPromise {
    private let keys = KeyRing.generate()
    private let text = [UInt8](repeating: UInt8(ascii: "a"), count: 10_000)

    @Test(arguments: [CipherAlgorithm.chaCha20Poly1305, .aes256GCM])
    func whatWasSealedOpens(algorithm: CipherAlgorithm) throws {
        let keys = KeyRing.generate(algorithm: algorithm)
        for payload in [[], [7], noise(5000), text] {
            let object = try Envelope.seal(payload, kind: .manifest, identity: "m/1", keys: keys)
            #expect(try Envelope.open(object, kind: .manifest, identity: "m/1", keys: keys) == payload)
        }
    }

    @Test func compressionShrinksWhatRepeats() throws {
        #expect(try Envelope.seal(text, kind: .manifest, identity: "m/1", keys: keys).count < 200)
    }

    @Test func twoSealingsShareNothing() throws {
        let first = try Envelope.seal(text, kind: .manifest, identity: "m/1", keys: keys)
        let second = try Envelope.seal(text, kind: .manifest, identity: "m/1", keys: keys)
        #expect(first[16...] != second[16...])
        #expect(zip(first[32...], second[32...]).count { $0 == $1 } < 10)
    }

    @Test func everyFlippedBitIsRefused() throws {
        let object = try Envelope.seal(Array("a small manifest".utf8), kind: .manifest, identity: "m/1", keys: keys)
        for bit in 0..<object.count * 8 {
            var damaged = object
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            let error = #expect(throws: StorageError.self, "bit \(bit)") {
                try Envelope.open(damaged, kind: .manifest, identity: "m/1", keys: keys)
            }
            #expect([.corrupt, .unsupported, .denied].contains(error?.code))
            if bit >= 16 * 8 { #expect(error?.code == .corrupt) }
        }
    }

    @Test func everyTruncationAndExtensionIsRefused() throws {
        let object = try Envelope.seal(Array("a small manifest".utf8), kind: .manifest, identity: "m/1", keys: keys)
        for count in 0..<object.count { refuses(Array(object[..<count])) }
        refuses(object + [0])
    }

    @Test func aSwappedObjectIsRefused() throws {
        let object = try Envelope.seal([1, 2, 3], kind: .manifest, identity: "m/1", keys: keys)
        let error = #expect(throws: StorageError.self) {
            try Envelope.open(object, kind: .manifest, identity: "m/2", keys: keys)
        }
        #expect(error?.message == "object m/2 is damaged at byte 32: its authentication tag is wrong")
        refuses(object, kind: .version)
    }

    @Test func anotherStoresKeyOpensNothing() throws {
        let object = try Envelope.seal([1, 2, 3], kind: .manifest, identity: "m/1", keys: keys)
        #expect(throws: StorageError.self) {
            try Envelope.open(object, kind: .manifest, identity: "m/1", keys: .generate())
        }
    }

    @Test func aNewerFormatIsToldApartFromDamage() throws {
        var object = try Envelope.seal([1, 2, 3], kind: .manifest, identity: "m/1", keys: keys)
        object[4] = 2
        let error = #expect(throws: StorageError.self) {
            try Envelope.open(object, kind: .manifest, identity: "m/1", keys: keys)
        }
        #expect(error?.code == .unsupported)
        #expect(error?.message.contains("newer zerofs") == true)
    }

    @Test func anUnknownKeyIsDenied() throws {
        var object = try Envelope.seal([1, 2, 3], kind: .manifest, identity: "m/1", keys: keys)
        object[8] = 9
        let error = #expect(throws: StorageError.self) {
            try Envelope.open(object, kind: .manifest, identity: "m/1", keys: keys)
        }
        #expect(error?.code == .denied)
    }

    /// Sealed by who has the keys: the length inside is a claim like any other.
    @Test func aCompressionBombIsBounded() throws {
        let cipher = try keys.sealing(.manifest, identity: "m/1")
        let bomb = try #require(try Compression.compress([UInt8](repeating: 0, count: 1 << 20)))
        for claim in [0, 1, (1 << 20) - 1, (1 << 20) + 1, UInt32.max] as [UInt32] {
            var plaintext = ByteWriter()
            plaintext.byte(1)
            plaintext.littleEndian(claim)
            plaintext.raw(bomb)
            var object = cipher.header.bytes
            try cipher.seal(plaintext.finish(), at: 32, appendingTo: &object)
            refuses(object)
        }
    }

    @Test func anUnknownEncodingIsRefused() throws {
        let cipher = try keys.sealing(.manifest, identity: "m/1")
        for plaintext in [[], [2, 1, 1], [1], [1, 0, 0, 0]] as [[UInt8]] {
            var object = cipher.header.bytes
            try cipher.seal(plaintext, at: 32, appendingTo: &object)
            refuses(object)
        }
    }

    private func refuses(_ object: [UInt8], kind: ObjectKind = .manifest) {
        let error = #expect(throws: StorageError.self) {
            try Envelope.open(object, kind: kind, identity: "m/1", keys: keys)
        }
        #expect(error?.code == .corrupt)
    }
}
