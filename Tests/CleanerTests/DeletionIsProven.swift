import ObjectStorage
import SegmentLog
import Snapshots
import StoreCore
import Testing

@testable import Cleaner

@Suite struct DeletionIsProven {
    @Test func whatIsOverwrittenGoesAndTheRestStays() async throws {
        let world = World()
        let volume = try await TestVolume.make(world, "a")
        for _ in 0..<4 {
            try await volume.write(0..<64)
            try await volume.checkpoint()
        }
        try await volume.compact()
        try await volume.write(10..<20)
        let report = try await world.gc()
        try await world.check()
        #expect(world.count("segment") == 2)
        #expect(world.count("run") == 1)
        #expect(world.count("manifest") == 1)
        #expect(report.objectsDeleted > 0 && report.segmentsRepacked == 0)
        let again = try await world.gc()
        #expect(again.objectsDeleted == 0)
    }

    @Test func overwrittenFiveTimesUnderASnapshotTakesLittleMoreThanItsLiveBytes() async throws {
        let world = World()
        let volume = try await TestVolume.make(world, "a")
        for round in 0..<6 {
            for start in stride(from: UInt64(0), to: 512, by: 64) {
                try await volume.write(stride(from: start + UInt64(round % 2), to: start + 64, by: 1 + round % 2 * 2))
            }
            try await volume.checkpoint()
            if round == 2 { try await volume.snapshot("s") }
        }
        let before = world.segmentBytes()
        try await world.gc()
        try await world.check()
        let live = Set(world.expected.values.flatMap(\.values)).count * (blockBytes + 16)
        #expect(world.segmentBytes() < before)
        #expect(Double(world.segmentBytes()) <= 1.3 * Double(live), "\(world.segmentBytes()) for \(live)")
    }
}
