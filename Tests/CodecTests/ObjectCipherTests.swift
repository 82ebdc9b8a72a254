import StoreCore
import Testing

@testable import Codec

@Suite struct FramesKeepTheirPlace {
    @Test(arguments: [CipherAlgorithm.chaCha20Poly1305, .aes256GCM])
    func framesOfManyObjectsInterleave(algorithm: CipherAlgorithm) throws {
        let keys = KeyRing.generate(algorithm: algorithm)
        let ciphers = try (0..<3).map { try keys.sealing(.segment, identity: "s/\($0)") }
        var objects: [[UInt8]] = ciphers.map { $0.header.bytes }
        let sizes = [0, 1, 15, 16, 17, 4096, 70_000]
        for size in sizes {
            for (number, cipher) in ciphers.enumerated() {
                let position = UInt64(objects[number].count)
                try cipher.seal(
                    noise(size, seed: UInt64(number)), at: position, authenticating: [9], appendingTo: &objects[number])
            }
        }
        for (number, object) in objects.enumerated() {
            let header = try ObjectHeader(decoding: object[...], expecting: .segment, object: "s/\(number)")
            let cipher = try keys.opening(header, identity: "s/\(number)")
            var position = ObjectHeader.byteCount
            for size in sizes {
                let end = position + size + ObjectCipher.tagBytes
                let plaintext = try cipher.open(
                    object[position..<end], at: UInt64(position), authenticating: [9], object: "s/\(number)")
                #expect(plaintext == noise(size, seed: UInt64(number)))
                position = end
            }
            #expect(position == object.count)
        }
    }

    @Test func aMovedFrameOrOtherDataIsRefused() throws {
        let keys = KeyRing.generate()
        let cipher = try keys.sealing(.segment, identity: "s")
        var frame: [UInt8] = []
        try cipher.seal([1, 2, 3], at: 4096, authenticating: [1], appendingTo: &frame)
        #expect(try cipher.open(frame[...], at: 4096, authenticating: [1], object: "s") == [1, 2, 3])
        for (position, data) in [(4097, [1]), (4096 + 1 << 32, [1]), (4096, [2]), (4096, [])] as [(UInt64, [UInt8])] {
            let error = #expect(throws: StorageError.self) {
                try cipher.open(frame[...], at: position, authenticating: data, object: "s")
            }
            #expect(error?.message == "object s is damaged at byte \(position): its authentication tag is wrong")
        }
        // The context that refused them is as good as new.
        #expect(try cipher.open(frame[...], at: 4096, authenticating: [1], object: "s") == [1, 2, 3])
    }

    @Test func aFrameFromTwoPartsEqualsOneFromTheWhole() throws {
        let cipher = try KeyRing.generate().sealing(.journal, identity: "j")
        let data = noise(5000)
        var whole: [UInt8] = []
        try cipher.seal(data, at: 64, authenticating: [1, 2], appendingTo: &whole)
        for cut in [0, 1, 15, 16, 64, 4999, 5000] {
            var parts = [UInt8](repeating: 0, count: whole.count)
            try data.withUnsafeBytes { data in
                try parts.withUnsafeMutableBytes {
                    try cipher.seal(
                        UnsafeRawBufferPointer(rebasing: data[..<cut]), UnsafeRawBufferPointer(rebasing: data[cut...]),
                        at: 64, authenticating: [1, 2], into: $0)
                }
            }
            #expect(parts == whole)
        }
    }

    @Test func aFrameShorterThanItsTagIsRefused() throws {
        let cipher = try KeyRing.generate().sealing(.segment, identity: "s")
        for count in 0...15 {
            let error = #expect(throws: StorageError.self) {
                try cipher.open(noise(count)[...], at: 0, object: "s")
            }
            #expect(error?.code == .corrupt)
        }
    }

    @Test func oneCipherServesManyThreads() async throws {
        let keys = KeyRing.generate()
        let cipher = try keys.sealing(.segment, identity: "s")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    for round in 0..<200 {
                        let position = UInt64(task * 1000 + round)
                        var frame: [UInt8] = []
                        try cipher.seal(noise(300, seed: position), at: position, appendingTo: &frame)
                        #expect(try cipher.open(frame[...], at: position, object: "s") == noise(300, seed: position))
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}

/// The bytes on storage. A change here is a change of format: it needs a new format version.
@Suite struct GoldenBytes {
    private let salt = Salt(0xa0a1_a2a3_a4a5_a6a7_a8a9_aaab_acad_aeaf)

    @Test func headerAndEnvelope() throws {
        let cipher = try fixedRing().sealing(.manifest, identity: "volumes/1/manifest/2", salt: salt)
        let object = try Envelope.seal(Array("zerofs".utf8), with: cipher, identity: "volumes/1/manifest/2")
        let bytes = """
            5a524653 0100 03 01 01000000 00000000 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf
            1720dd27c0767a 74c38f5b6dfefc8377490296cfcdff42
            """
        #expect(object == hex(bytes))
        #expect(
            try Envelope.open(hex(bytes), kind: .manifest, identity: "volumes/1/manifest/2", keys: fixedRing())
                == Array("zerofs".utf8))
    }

    @Test func headerAndEnvelopeUnderAES() throws {
        let cipher = try fixedRing(.aes256GCM).sealing(.catalog, identity: "catalog/1", salt: salt)
        let object = try Envelope.seal(Array("zerofs".utf8), with: cipher, identity: "catalog/1")
        #expect(
            object
                == hex(
                    """
                    5a524653 0100 05 02 01000000 00000000 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf
                    67ff23178c5a25 68ccc937d4891c5225efea3603a19069
                    """))
    }
}
