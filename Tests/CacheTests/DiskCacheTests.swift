import Foundation
import ObjectStorage
import SegmentLog
import StoreCore
import Testing

@testable import Cache

@Suite struct DiskTierMayLieButNeverHarms {
    private func files(_ directory: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: directory).sorted().map { "\(directory)/\($0)" }
    }

    @Test func servesAcrossARestart() async throws {
        let fixture = Fixture()
        let directory = Fixture.temporaryDirectory()
        defer { try! FileManager.default.removeItem(atPath: directory) }
        let segment = try await fixture.segment(1)
        let first = try await DiskCache(directory: directory, bytesMax: 64 << 20)
        _ = try await fixture.read(fixture.fetcher(disk: first), segment, 0..<64)
        await first.drain()
        let again = fixture.fetcher(memory: RecordCache(bytes: 0), disk: first)
        #expect(try await fixture.read(again, segment, 0..<64) == segment.expected(1, 0..<64))
        #expect(again.statistics.fromDisk == 8 && fixture.store.counts().rangedGet == 1)
        await first.close()
        let second = try await DiskCache(directory: directory, bytesMax: 64 << 20)
        let fetcher = fixture.fetcher(disk: second)
        #expect(try await fixture.read(fetcher, segment, 5..<40) == segment.expected(1, 5..<40))
        #expect(fetcher.statistics.fromDisk == 5 && fixture.store.counts().rangedGet == 1)
        #expect(second.statistics.hits == 5 && second.statistics.records == 8)
        let mode = try FileManager.default.attributesOfItem(atPath: try files(directory)[0])[.posixPermissions] as? Int
        #expect(mode == 0o600)
    }

    @Test func corruptFramesAreMissesAndForgotten() async throws {
        let fixture = Fixture()
        let directory = Fixture.temporaryDirectory()
        defer { try! FileManager.default.removeItem(atPath: directory) }
        let segment = try await fixture.segment(1)
        let disk = try await DiskCache(directory: directory, bytesMax: 64 << 20)
        _ = try await fixture.read(fixture.fetcher(disk: disk), segment, 0..<64)
        await disk.drain()
        let path = try #require(try files(directory).first)
        let handle = try #require(FileHandle(forUpdatingAtPath: path))
        try handle.write(contentsOf: [UInt8](repeating: 0xaa, count: 100_000))
        try handle.close()
        let fetcher = fixture.fetcher(memory: RecordCache(bytes: 0), disk: disk)
        #expect(try await fixture.read(fetcher, segment, 0..<64) == segment.expected(1, 0..<64))
        #expect(disk.statistics.corruptFrames == 4 && fetcher.statistics.fromDisk == 4)
        // Truncated to nothing while it is open.
        try FileHandle(forUpdatingAtPath: path)?.truncate(atOffset: 0)
        #expect(try await fixture.read(fetcher, segment, 0..<64) == segment.expected(1, 0..<64))
        // What was fetched again is kept again.
        await disk.drain()
        #expect(try await fixture.read(fetcher, segment, 0..<8) == segment.expected(1, 0..<8))
    }

    @Test func damagedRegionsAreDroppedAtTheStart() async throws {
        let fixture = Fixture()
        let directory = Fixture.temporaryDirectory()
        defer { try! FileManager.default.removeItem(atPath: directory) }
        let segment = try await fixture.segment(1)
        let disk = try await DiskCache(directory: directory, bytesMax: 64 << 20)
        _ = try await fixture.read(fixture.fetcher(disk: disk), segment, 0..<64)
        await disk.close()
        let path = try #require(try files(directory).first)
        let good = try Data(contentsOf: URL(fileURLWithPath: path))
        for position in stride(from: good.count - 160, to: good.count, by: 7) {
            var bad = good
            bad[position] ^= 0x40
            try bad.write(to: URL(fileURLWithPath: path))
            let opened = try await DiskCache(directory: directory, bytesMax: 64 << 20)
            #expect(opened.statistics.records == 0)
            #expect(try files(directory).isEmpty)
        }
        try good.prefix(good.count - 1).write(to: URL(fileURLWithPath: path))
        #expect(try await DiskCache(directory: directory, bytesMax: 64 << 20).statistics.records == 0)
    }

    @Test func bytesAndFramesAreBoundedAndTheUsedSurvive() async throws {
        let directory = Fixture.temporaryDirectory()
        defer { try! FileManager.default.removeItem(atPath: directory) }
        let disk = try await DiskCache(directory: directory, bytesMax: 8 << 20, framesMax: 1000)
        func key(_ number: UInt64) -> RecordKey {
            RecordKey(segment: UInt128(number &* 0x9e37_79b9_7f4a_7c15), position: 0)
        }
        func frame(_ number: UInt64) -> [UInt8] {
            [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 16 << 10)
        }
        disk.insert(key(0), frame(0))
        for number in 1...4000 as ClosedRange<UInt64> {
            disk.insert(key(number), frame(number))
            if number % 16 == 0 {
                await disk.drain()
                #expect(await disk.read(key(0)) == frame(0), "lost at \(number)")
            }
        }
        await disk.drain()
        let counts = disk.statistics
        #expect(counts.bytes <= 8 << 20 && counts.records <= 512 && counts.errors == 0)
        let onDisk = try files(directory).reduce(0) {
            $0 + (try FileManager.default.attributesOfItem(atPath: $1)[.size] as! Int)
        }
        #expect(onDisk <= 8 << 20)
        #expect(await disk.read(key(4000)) == frame(4000))
        #expect(await disk.read(key(1)) == nil)
        await disk.close()
        // A smaller budget at the next start.
        let small = try await DiskCache(directory: directory, bytesMax: 4 << 20)
        #expect(small.statistics.bytes <= 4 << 20)
    }

    @Test func aDirectoryThatVanishesIsAMissNotAnError() async throws {
        let fixture = Fixture()
        let directory = Fixture.temporaryDirectory()
        let disk = try await DiskCache(directory: directory, bytesMax: 64 << 20)
        try FileManager.default.removeItem(atPath: directory)
        let segment = try await fixture.segment(1)
        let fetcher = fixture.fetcher(memory: RecordCache(bytes: 0), disk: disk)
        for _ in 0..<2 {
            #expect(try await fixture.read(fetcher, segment, 0..<64) == segment.expected(1, 0..<64))
            await disk.drain()
        }
        #expect(disk.statistics.errors > 0)
    }
}
