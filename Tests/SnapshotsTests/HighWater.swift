import StoreCore
import Testing

@testable import Snapshots

@Suite struct RolledBackBucketsAreNoticed {
    @Test func aLowerNumberIsRefused() throws {
        var marks = HighWaterMarks()
        let isNews = [try marks.observe(.catalog, 7), try marks.observe(.catalog, 7)]
        #expect(isNews == [true, false])
        try marks.observe(.epoch(VolumeID(1)), 3)
        #expect(throws: StorageError.self) { try marks.observe(.catalog, 6) }
        #expect(marks[.catalog] == 7)
        marks.forget(VolumeID(1))
        try marks.observe(.epoch(VolumeID(1)), 1)
    }

    @Test func theFileRemembersAcrossOpenings() async throws {
        let folder = "/tmp/zerofs-high-water-\(SnapshotID.random())"
        let disk = SystemDisk()
        try await disk.makeDirectory(folder, isNew: true)
        let path = folder + "/high-water"
        let file = try await HighWaterFile.open(path: path, disk: disk)
        try file.observe(.catalog, 5)
        try await file.save()
        try file.observe(.catalog, 6)
        let again = try await HighWaterFile.open(path: path, disk: disk)
        #expect(again.marks[.catalog] == 5)
        #expect(await code { try again.observe(.catalog, 4) } == .corrupt)
        try await disk.put(path, Array("zerofs high water 1\n".utf8))
        #expect(await code { _ = try await HighWaterFile.open(path: path, disk: disk) } == .corrupt)
        try await disk.remove(path)
        try await disk.removeDirectory(folder)
    }

    @Test func theTextComesBackWhole() throws {
        var marks = HighWaterMarks()
        try marks.observe(.catalog, 7)
        try marks.observe(.manifest(VolumeID(1)), .max)
        try marks.observe(.epoch(VolumeID(1)), 3)
        #expect(try HighWaterMarks(parsing: marks.text, file: "f") == marks)
        #expect(try HighWaterMarks(parsing: HighWaterMarks().text, file: "f") == HighWaterMarks())
        let text = marks.text
        for length in 0..<text.count {
            #expect(throws: StorageError.self) { try HighWaterMarks(parsing: String(text.prefix(length)), file: "f") }
        }
        #expect(throws: StorageError.self) {
            try HighWaterMarks(parsing: text.replacing("catalog", with: "catalogue"), file: "f")
        }
    }
}
