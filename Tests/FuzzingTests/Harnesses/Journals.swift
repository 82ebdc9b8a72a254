import StoreCore

@testable import Codec
@testable import Journal

extension Harness {
    static let journals: [Harness] = [
        Harness(
            name: "journal-file", memory: { (4 << 20) + 256 * $0 },
            seeds: {
                let link = entry(.link, sequence: 0, count: 1, payload: JournalFormat.firstChain)
                let write = entry(.write, sequence: 1, first: 9, count: 1, payload: [UInt8](repeating: 1, count: 4096))
                let others =
                    entry(.zero, sequence: 2, first: 4, count: 7) + entry(.resize, sequence: 3, count: 1 << 30)
                    + entry(.end, sequence: 3)
                return [[0] + link + write + others, [1] + (try sealed(link + others))]
            },
            body: { input in
                var choices = Choices(input)
                let isRaw = choices.byte() & 1 == 1
                let bytes = isRaw ? choices.all() : try sealed(choices.all())
                var reader = try JournalFileReader(bytes, generation: generation, number: 1, keys: Fixtures.keys)
                guard try reader.begin(after: nil) != nil else { return }
                var read = 0
                while let entry = try reader.next() {
                    read += 1
                    switch entry.operation {
                    case .write(let range, let blocks):
                        require(range.byteCount == UInt64(blocks.count), "a write has the bytes of its blocks")
                        _ = range.end
                    case .zero(let range): _ = (range.end, range.byteCount)
                    case .resize(let size): require(size <= Limits.volumeBytesMax, "a volume can have that size")
                    }
                }
                require(read <= bytes.count / JournalFormat.entryBytes(payload: 0), "each entry takes its bytes")
                _ = (reader.tornBytes, reader.endsInZeroes, reader.unfinishedBytes, reader.isClosed)
            }),
        Harness(
            name: "journal-marker", seeds: { [Array(marker.bytes.dropLast(32))] },
            body: { input in
                _ = try? GenerationMarker(decoding: input, path: "token")
                // Past the hash, which anybody can compute.
                var writer = ByteWriter()
                writer.raw(input)
                writer.digest(.sha256(input))
                let bytes = writer.finish()
                let found = try GenerationMarker(decoding: bytes, path: "token")
                require(
                    try GenerationMarker(decoding: found.bytes, path: "again") == found,
                    "a token is written as it was read")
            }),
    ]

    private static let marker = GenerationMarker(
        volume: Fixtures.volume, token: OwnerToken(7), generation: 2, epoch: Epoch(9), created: Fixtures.time,
        bootID: 11)
    private static let generation = JournalGeneration(
        path: "journal", volume: Fixtures.volume, kind: .journaled, number: 2, token: OwnerToken(7), epoch: Epoch(9),
        created: Fixtures.time, bootID: 11, files: [1])

    /// As `sealed` reads it: a length, then the head and the payload.
    private static func entry(
        _ kind: EntryHead.Kind, sequence: UInt64, first: UInt64 = 0, count: UInt64 = 0, payload: [UInt8] = []
    ) -> [UInt8] {
        let head = EntryHead(
            sequence: WriteSequence(sequence), time: Fixtures.time, first: first, count: count, kind: kind)
        var bytes = [UInt8](repeating: 0, count: JournalFormat.headBytes)
        bytes.withUnsafeMutableBytes { head.encode(into: $0) }
        return (bytes + payload).asPart
    }

    /// A file whose entries are genuine and follow each other, whatever they say.
    private static func sealed(_ entries: [UInt8]) throws -> [UInt8] {
        var choices = Choices(entries)
        let identity = JournalFormat.identity(
            generation.volume, generation.token, generation: generation.number, file: 1)
        let cipher = try Fixtures.cipher(.journal, identity)
        var file = cipher.header.bytes
        var chain = JournalFormat.firstChain
        while !choices.isEmpty {
            let plaintext = choices.part()
            let length = UInt32(plaintext.count + JournalFormat.tagBytes)
            let position = UInt64(file.count)
            let lengthBytes = (0..<4).map { UInt8(truncatingIfNeeded: length >> UInt32(8 * $0)) }
            file += lengthBytes
            try cipher.seal(plaintext, at: position, authenticating: chain + lengthBytes, appendingTo: &file)
            chain = Array(file.suffix(JournalFormat.tagBytes))
        }
        return file + [UInt8](repeating: 0, count: 100)
    }
}
