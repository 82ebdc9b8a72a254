import Journal
import StoreCore
import Synchronization
import Testing

@Suite struct ARemovalThatBrokeOffLeavesNothing {
    /// Found by crash enumeration: a host crash broke the chain in the first of several files, the replay ended there,
    /// and the removal of the generation was cut short by the next crash. With the first file gone, the entries of the
    /// second, which no replay had returned, were taken for the rest of a released journal: the volume did not open, or
    /// came back with writes of a past that the log had left behind.
    @Test func aFileBehindABreakIsNotReplayedOnceTheBrokenOneIsGone() async throws {
        let fixture = Fixture(fileBytes: 64 << 10)
        let journal = try await fixture.open()
        for sequence in 1...24 as ClosedRange<UInt64> { try await fixture.write(journal, sequence) }
        try await journal.sync(upTo: WriteSequence(24))
        let generation = try #require(try await fixture.generations().last)
        #expect(generation.files.count > 1)
        // A sector of the first file is lost.
        let path = "\(generation.path)/\(generation.files[0].hex)"
        var bytes = fixture.memory.bytes(path)
        bytes.replaceSubrange(9_216..<9_728, with: [UInt8](repeating: 0, count: 512))
        fixture.memory.set(path, bytes)
        let (before, _) = try await fixture.replay(generation)
        #expect(before.count < 4)

        // The removal ends after each number of steps.
        for steps in 0...8 {
            let disk = EndingDisk(fixture.memory.crashed(seed: 1), removals: steps)
            do { try await Journal.remove(generation, disk: disk) } catch {
                // Cut off, as it is meant to be.
            }
            let left = try await Journal.generations(
                directory: fixture.directory, volume: fixture.volume, disk: disk)
            for generation in left {
                try await Journal.replay(generation, keys: fixture.keys, disk: disk) { entry in
                    #expect(before.contains(entry), "after \(steps) removals")
                }
            }
        }
    }
}

/// A disk that is cut off after some removals.
private final class EndingDisk: LocalDisk {
    private let base: MemoryDisk
    private let left: Mutex<Int>

    init(_ base: MemoryDisk, removals: Int) {
        self.base = base
        left = Mutex(removals)
    }
    func remove(_ path: String) async throws {
        let isOn = left.withLock { left in
            left -= 1
            return left >= 0
        }
        guard isOn else { throw StorageError(.unavailable, "the host lost its power") }
        try await base.remove(path)
    }
    func bootID() async throws -> UInt128 { try await base.bootID() }
    func makeDirectory(_ path: String, isNew: Bool) async throws { try await base.makeDirectory(path, isNew: isNew) }
    func create(_ path: String, zeroFilled byteCount: Int) async throws -> any LocalFile {
        try await base.create(path, zeroFilled: byteCount)
    }
    func createScratch(_ path: String) async throws -> any LocalFile { try await base.createScratch(path) }
    func open(_ path: String) async throws -> any LocalFile { try await base.open(path) }
    func put(_ path: String, _ bytes: [UInt8]) async throws { try await base.put(path, bytes) }
    func read(_ path: String) async throws -> [UInt8] { try await base.read(path) }
    func list(_ directory: String) async throws -> [String] { try await base.list(directory) }
    func removeDirectory(_ path: String) async throws { try await base.removeDirectory(path) }
    func syncDirectory(_ path: String) async throws { try await base.syncDirectory(path) }
}
