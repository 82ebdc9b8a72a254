import ObjectStorage
import SegmentLog
import StoreCore

@testable import Cleaner

extension Harness {
    static let cleaning: [Harness] = [
        Harness(
            name: "relocation-record",
            seeds: { [relocation.encoded()] },
            body: { input in
                let record = try RelocationRecord(decoding: input, object: "relocated")
                require(
                    try RelocationRecord(decoding: record.encoded(), object: "again") == record,
                    "a record is written as it was read")
                for entry in record.entries {
                    require(record.entry(at: entry.oldPosition) == entry, "an entry is found by its position")
                }
                _ = (record.relocation, RelocationRecord.key(of: record.victim))
            }),
        Harness(
            name: "cleaner-generation",
            seeds: {
                [
                    CleanerGeneration(
                        number: 3, time: Fixtures.time, victims: (0..<5).map { Fixtures.segment($0).id }
                    ).encoded()
                ]
            },
            body: { input in
                var reader = ByteReader(input.dropFirst(), object: "number")
                let number = try reader.varint()
                let generation = try CleanerGeneration(decoding: input, number: number)
                require(
                    try CleanerGeneration(decoding: generation.encoded(), number: number) == generation,
                    "a generation is written as it was read")
            }),
        Harness(
            name: "object-name",
            words: ["volumes/", "/log/", "/map/", "/manifest/", "/version/", "packed/", "relocated/", "catalog/"],
            seeds: {
                let keys: [ObjectKey] = [
                    Fixtures.segment(1).id.key, Fixtures.segment(2).id.key,
                    RelocationRecord.key(of: Fixtures.segment(1).id), CleanerGeneration.key(7),
                    ObjectKey("catalog-page/0000000000000004/\(Digest.zero)"), "superblock/ffffffffffffffff",
                    ObjectKey("volumes/\(Fixtures.volume)/map/0000000000000004/\(Digest.zero)"),
                ]
                return keys.map { Array($0.text.utf8) }
            },
            body: { input in
                let key = ObjectKey(String(decoding: input, as: UTF8.self))
                let name = ObjectName(key)
                _ = (name.kind, name.volume, RelocationRecord.name(of: key))
                if case .segment(let id) = name { require(id.key == key, "a segment's name is its own") }
            }),
    ]

    private static let relocation = RelocationRecord(
        victim: Fixtures.segment(1).id, victimHash: Fixtures.segment(1).contentHash,
        targets: [Fixtures.segment(2), Fixtures.segment(5)],
        entries: (0..<6).map {
            RelocationRecord.Entry(
                oldPosition: UInt32(32 + 100 * $0), target: $0 % 2,
                record: RecordLocation(position: UInt32(9000 - 100 * $0), byteCount: 100, blockCount: 8))
        })
}
