import StoreCore

@testable import Cache
@testable import Codec
@testable import Snapshots

extension Harness {
    static let dataDirectory: [Harness] = [
        Harness(
            name: "cache-region",
            seeds: {
                let entries = (0..<5).map {
                    RegionFormat.Entry(fingerprint: UInt64($0) << 40, position: UInt32(10 * $0), byteCount: 10)
                }
                let directory = RegionFormat.directory(entries, at: 50)
                return [[0] + [UInt8](repeating: 1, count: 50) + directory, [1] + directory.dropLast(8)]
            },
            body: { input in
                var choices = Choices(input)
                let isRaw = choices.byte() & 1 == 0
                var bytes = choices.all()
                if !isRaw, bytes.count >= 24 {
                    // Past the hash, which anybody can compute.
                    var writer = ByteWriter()
                    writer.raw(bytes)
                    writer.littleEndian(XXH3.hash(Array(bytes.dropLast(24))))
                    bytes = writer.finish()
                }
                let file = MemoryFile(bytes)
                try wait {
                    guard let entries = try await RegionFormat.entries(of: file, byteCount: file.byteCount) else {
                        return
                    }
                    for entry in entries {
                        require(
                            Int(entry.position) + Int(entry.byteCount) <= file.byteCount,
                            "a frame lies within its region")
                    }
                }
            }),
        Harness(
            name: "high-water", words: ["zerofs high water 1\n", "catalog - ", "manifest ", "epoch ", "end "],
            seeds: {
                var marks = HighWaterMarks()
                try marks.observe(.catalog, 77)
                try marks.observe(.manifest(Fixtures.volume), 5)
                try marks.observe(.epoch(Fixtures.volume), 3)
                return [Array(marks.text.utf8), Array(HighWaterMarks().text.utf8)]
            },
            body: { input in
                let text = String(decoding: input, as: UTF8.self)
                let marks = try HighWaterMarks(parsing: text, file: "high-water")
                require(marks.text == text, "a file of marks is written as it was read")
            }),
    ]
}

/// A file of the data directory, as somebody left it.
private final class MemoryFile: LocalFile {
    private let bytes: [UInt8]
    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var byteCount: Int { bytes.count }
    func read(at position: Int, count: Int) async throws -> [UInt8] {
        Array(bytes.dropFirst(position).prefix(count))
    }
    func store(at position: Int, count: Int, _ fill: (UnsafeMutableRawBufferPointer) throws -> Void) throws {}
    func write(_ bytes: [UInt8], at position: Int) async throws {}
    func sync() async throws {}
}
