import Foundation
import Journal
import StoreCore
import Testing

@testable import Codec

/// On a real file system.
@Suite struct JournalSurvivesItsProcess {
    /// One key: the bytes 0, 1, 2 … 31, so that parent and child share it.
    static func keys() -> KeyRing {
        let secret = SecretBytes(copying: (0..<32).map { UInt8($0) })
        return KeyRing(
            keys: [DataKeyID(1): .init(algorithm: .chaCha20Poly1305, secret: secret)], current: DataKeyID(1))
    }
    private static func temporaryDirectory() -> String {
        NSTemporaryDirectory() + "zerofs-journal-\(UUID().uuidString)"
    }

    @Test func everythingAppendedBeforeSIGKILLComesBack() async throws {
        let directory = Self.temporaryDirectory()
        defer { try! FileManager.default.removeItem(atPath: directory) }
        await #expect(processExitsWith: .signal(SIGKILL)) { [directory = directory as String] in
            let fixture = Fixture(SystemDisk.shared, directory: directory, keys: JournalSurvivesItsProcess.keys())
            let journal = try await fixture.open()
            for sequence in 1...50 as ClosedRange<UInt64> { try await fixture.write(journal, sequence) }
            kill(getpid(), SIGKILL)
        }
        let fixture = Fixture(SystemDisk.shared, directory: directory, keys: Self.keys())
        let (found, summary) = try await fixture.replay()
        #expect(found.map(\.sequence.value) == Array(1...50))
        #expect(
            found.allSatisfy { entry in
                entry.operation
                    == .write(
                        BlockRange(first: BlockIndex(entry.sequence.value * 10), count: 1),
                        Fixture.pattern(entry.sequence.value, blocks: 1))
            })
        #expect(summary.isComplete && summary.isSameBoot && !summary.isClosed)
    }

    @Test func filesArePrivateAllocatedAndUnreadable() async throws {
        let directory = Self.temporaryDirectory()
        defer { try! FileManager.default.removeItem(atPath: directory) }
        let fixture = Fixture(SystemDisk.shared, directory: directory)
        let journal = try await fixture.open()
        let text = Array("confidential".utf8)
        let block = (0..<blockBytes).map { text[$0 % text.count] }
        try await fixture.append(journal, 1, .write(BlockRange(first: BlockIndex(1), count: 1), block))
        try await journal.sync(upTo: WriteSequence(1))
        let generation = try #require(try await fixture.generations().last)
        for (path, mode) in [
            (directory, 0o700), (generation.path, 0o700), (generation.path + "/token", 0o600),
            ("\(generation.path)/\(UInt64(1).hex)", 0o600),
        ] {
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            #expect(attributes[.posixPermissions] as? Int == mode, "\(path)")
        }
        var status = stat()
        let path = "\(generation.path)/\(UInt64(1).hex)"
        #expect(stat(path, &status) == 0)
        #expect(
            Int(status.st_size) == fixture.limits.fileBytes && Int(status.st_blocks) * 512 >= fixture.limits.fileBytes)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)).range(of: Data(text)) == nil)
        #expect(try await fixture.replay().0 == fixture.entries)
    }

    @Test func generationsComeAndGo() async throws {
        let directory = Self.temporaryDirectory()
        defer { try! FileManager.default.removeItem(atPath: directory) }
        let fixture = Fixture(SystemDisk.shared, directory: directory, files: 4)
        let first = try await fixture.open(1)
        for sequence in 1...100 as ClosedRange<UInt64> {
            try await fixture.write(first, sequence)
            first.release(upTo: WriteSequence(sequence))
        }
        try await first.close(deleting: false)
        let second = try await fixture.open(2)
        #expect(try await fixture.generations().map(\.token) == [OwnerToken(1), OwnerToken(2)])
        #expect(try await Journal.volumes(directory: directory, disk: fixture.disk) == [fixture.volume])
        try await second.close(deleting: true)
        for generation in try await fixture.generations() { try await Journal.remove(generation, disk: fixture.disk) }
        #expect(try await fixture.generations().isEmpty)
        #expect(try FileManager.default.contentsOfDirectory(atPath: "\(directory)/\(fixture.volume)").isEmpty)
    }

    @Test func errorsOfTheDiskSayWhatToDo() async throws {
        let disk = SystemDisk.shared
        let directory = Self.temporaryDirectory()
        defer { try! FileManager.default.removeItem(atPath: directory) }
        try await disk.makeDirectory(directory + "/a/b", isNew: true)
        func code(_ body: () async throws -> Void) async -> ErrorCode? {
            do {
                try await body()
                return nil
            } catch { return error.storageCode }
        }
        #expect(await code { try await disk.makeDirectory(directory + "/a/b", isNew: true) } == .alreadyExists)
        #expect(await code { _ = try await disk.open(directory + "/none") } == .notFound)
        #expect(await code { _ = try await disk.create("/dev/full", zeroFilled: 1 << 16) } == .alreadyExists)
        // More than any disk has: nothing stays behind.
        #expect(await code { _ = try await disk.create(directory + "/big", zeroFilled: 1 << 50) } != nil)
        #expect(try await disk.list(directory) == ["a"])
        #expect(try await disk.list(directory + "/none").isEmpty)
        try await disk.put(directory + "/file", [1, 2, 3])
        try await disk.put(directory + "/file", [4])
        #expect(try await disk.read(directory + "/file") == [4])
        #expect(try await disk.list(directory) == ["a", "file"])
        try await disk.remove(directory + "/file")
        try await disk.remove(directory + "/file")
    }
}
