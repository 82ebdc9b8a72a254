import StoreCore

@testable import Codec

extension Harness {
    static let superblocks: [Harness] = [
        Harness(
            name: "superblock",
            seeds: {
                let unlocks: [Unlock] = [
                    .passphrase(Array("correct horse".utf8)), .keyFile([UInt8](repeating: 7, count: 32)),
                ]
                return try unlocks.map { unlock in
                    let cost = ScryptCost(logN: 1, blockSize: 1, parallelism: 1)
                    let superblock = try Superblock.create(unlock: unlock, algorithm: .aes256GCM, cost: cost).0
                    return Array(superblock.encode().dropLast(8))
                }
            },
            body: { input in
                _ = try? Superblock(decoding: input)
                // Past the checksum, which anybody can compute.
                var writer = ByteWriter()
                writer.raw(input)
                writer.littleEndian(XXH3.hash(input))
                let bytes = writer.finish()
                let superblock = try Superblock(decoding: bytes)
                require(superblock.encode() == bytes, "a superblock is written as it was read")
                require(superblock.keyIDs.contains(superblock.currentKeyID), "the current key is there")
                if case .keyFile = superblock.method {
                    _ = try superblock.unlock(.keyFile([UInt8](repeating: 7, count: 32)))
                }
            }),
        Harness(
            name: "envelope", memory: { (1 << 20) + 256 * $0 + 2 * decompressed($0) },
            seeds: {
                try [[1, 2, 3], [UInt8](repeating: 65, count: 5000)].flatMap { payload -> [[UInt8]] in
                    let object = try Envelope.seal(
                        payload, with: Fixtures.cipher(.manifest, "volumes/1/manifest/2"),
                        identity: "volumes/1/manifest/2")
                    let plaintext = try Fixtures.cipher(.manifest, "volumes/1/manifest/2")
                        .open(object[32...], at: 32, object: "seed")
                    return [[0] + object, [1] + plaintext]
                }
            },
            body: { input in
                var choices = Choices(input)
                let isWhole = choices.byte() & 1 == 0
                let identity = "volumes/1/manifest/2"
                let object = isWhole ? choices.all() : try Fixtures.sealed(choices.all(), .manifest, identity)
                let payload = try Envelope.open(object, kind: .manifest, identity: identity, keys: Fixtures.keys)
                let again = try Envelope.seal(payload, kind: .manifest, identity: identity, keys: Fixtures.keys)
                require(
                    try Envelope.open(again, kind: .manifest, identity: identity, keys: Fixtures.keys) == payload,
                    "an envelope holds what was put into it")
            }),
        Harness(
            name: "object-header",
            seeds: { [try Fixtures.cipher(.segment, "x").header.bytes] },
            body: { input in
                let header = try ObjectHeader(decoding: input[...], expecting: .segment, object: "x")
                require(header.bytes == Array(input.prefix(32)), "a header is written as it was read")
                _ = try Fixtures.keys.opening(header, identity: "x")
            }),
        Harness(
            name: "key-files", words: ["#", "\n", "\r\n", " \t"],
            seeds: { [Array(KeyFile.text(of: [UInt8](repeating: 7, count: 32)).utf8), Array("secret\r\n".utf8)] },
            body: { input in
                _ = try? Unlock.readingPassphrase(input, path: "passphrase")
                let key = try KeyFile.parse(input, path: "key")
                require(key.secret?.count == KeyFile.byteCount, "a key has its length")
            }),
    ]
}
