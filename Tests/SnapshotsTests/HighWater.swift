import StoreCore
import Synchronization
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

    /// Who saves while another does is not put off: a process may end right after it.
    @Test func aSaveThatReturnsHasSavedWhatCameBefore() async throws {
        let disk = SlowDisk()
        let file = try await HighWaterFile.open(path: "/marks", disk: disk)
        try file.observe(.catalog, 5)
        let first = Task { try await file.save() }
        while disk.puts.withLock({ $0.isEmpty }) { await Task.yield() }
        try file.observe(.catalog, 6)
        let second = Task {
            try await file.save()
            return disk.file.withLock { $0 }
        }
        // Time for the second to get where it waits, or wrongly returns.
        for _ in 0..<100 { await Task.yield() }
        disk.letGo()
        try await first.value
        let saved = try #require(try await second.value)
        #expect(try HighWaterMarks(parsing: String(decoding: saved, as: UTF8.self), file: "f")[.catalog] == 6)
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

/// Holds one small file, and its first replacement back until it is let go.
private final class SlowDisk: LocalDisk {
    let file = Mutex<[UInt8]?>(nil)
    let puts = Mutex<[[UInt8]]>([])
    private let gate = Mutex<(isOpen: Bool, waiting: CheckedContinuation<Void, Never>?)>((false, nil))

    func letGo() {
        gate.withLock { gate in
            gate.isOpen = true
            return gate.waiting
        }?.resume()
    }
    func put(_ path: String, _ bytes: [UInt8]) async throws {
        puts.withLock { $0.append(bytes) }
        await withCheckedContinuation { continuation in
            let isOpen = gate.withLock { gate in
                if !gate.isOpen { gate.waiting = continuation }
                return gate.isOpen
            }
            if isOpen { continuation.resume() }
        }
        file.withLock { $0 = bytes }
    }
    func read(_ path: String) async throws -> [UInt8] {
        guard let bytes = file.withLock({ $0 }) else { throw StorageError(.notFound, path) }
        return bytes
    }

    private static let other = StorageError(.unsupported, "no other files")
    func bootID() async throws -> UInt128 { 1 }
    func makeDirectory(_ path: String, isNew: Bool) async throws { throw Self.other }
    func create(_ path: String, zeroFilled byteCount: Int) async throws -> any LocalFile { throw Self.other }
    func createScratch(_ path: String) async throws -> any LocalFile { throw Self.other }
    func open(_ path: String) async throws -> any LocalFile { throw Self.other }
    func list(_ directory: String) async throws -> [String] { [] }
    func remove(_ path: String) async throws {}
    func removeDirectory(_ path: String) async throws {}
    func syncDirectory(_ path: String) async throws {}
}
