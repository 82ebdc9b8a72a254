import StoreCore
import Synchronization
import Testing

@testable import Journal

@Suite struct ReplayReturnsAPrefix {
    /// Without any sync or close: what a SIGKILL leaves.
    @Test func everyAppendedEntryComesBackInOrder() async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        for sequence in 1...40 as ClosedRange<UInt64> {
            fixture.time.time.withLock { $0 += 5 }
            try await fixture.write(journal, sequence * 2, blocks: Int(sequence % 3) + 1)
        }
        try await fixture.append(journal, 100, .zero(BlockRange(first: BlockIndex(3), count: 1 << 37)))
        try await fixture.append(journal, 101, .resize(1 << 50))
        let (found, summary) = try await fixture.replay()
        #expect(found == fixture.entries)
        #expect(try await fixture.generations()[0].files.count > 3)
        #expect(summary.first == WriteSequence(2) && summary.last == WriteSequence(101) && summary.entries == 42)
        #expect(summary.isSameBoot && !summary.isClosed && summary.isComplete && summary.tornBytes == 0)
    }

    @Test func closedJournalSaysSo() async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        try await fixture.write(journal, 1)
        try await journal.close(deleting: false)
        fixture.memory.state.withLock { $0.boot = 8 }
        let (found, summary) = try await fixture.replay()
        #expect(found == fixture.entries)
        #expect(summary.isClosed && summary.isComplete && !summary.isSameBoot)
        await #expect(throws: StorageError.self) { try await fixture.write(journal, 2) }
    }

    @Test func tornTailAtEveryByteOfTheLastEntryEndsReplayBeforeIt() async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        try await fixture.write(journal, 1)
        let generation = try #require(try await fixture.generations().last)
        let path = "\(generation.path)/\(UInt64(1).hex)"
        let before = fixture.memory.bytes(path)
        try await fixture.append(journal, 2, .zero(BlockRange(first: BlockIndex(1), count: 2)))
        let after = fixture.memory.bytes(path)
        let start = try #require(zip(before, after).enumerated().first { $1.0 != $1.1 }?.offset)
        let end = try #require(after.lastIndex { $0 != 0 }) + 1
        for cut in start..<end {
            fixture.memory.set(path, Array(after[..<cut]) + before[cut...])
            let (found, summary) = try await fixture.replay()
            #expect(found == Array(fixture.entries.prefix(1)), "cut at \(cut)")
            #expect(!summary.isDamaged && summary.isComplete, "cut at \(cut)")
            fixture.memory.set(path, Array(after[..<cut]) + [after[cut] ^ 1] + after[(cut + 1)...])
            #expect(try await fixture.replay().0 == Array(fixture.entries.prefix(1)), "bit flipped at \(cut)")
        }
    }

    /// A process may be killed while it stores the header of its first file, or of the next.
    @Test(arguments: [1, 2] as [UInt64])
    func headerThatWasStoredInPartEndsReplayBeforeIt(file: UInt64) async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        let perFile = (64 << 10) / (4096 + 60)
        let count = UInt64(perFile) * (file - 1) + 1
        for sequence in 1...count { try await fixture.write(journal, sequence) }
        let path = try #require(try await fixture.generations().last).path + "/\(file.hex)"
        let bytes = fixture.memory.bytes(path)
        for cut in 0...32 {
            fixture.memory.set(path, bytes[..<cut] + [UInt8](repeating: 0, count: bytes.count - cut))
            let (found, summary) = try await fixture.replay()
            #expect(found == fixture.entries.dropLast(), "cut at \(cut)")
            #expect(!summary.isDamaged && summary.tornBytes == 0, "cut at \(cut)")
        }
    }

    @Test(arguments: [0, 5, 13, 20])
    func lostPageEndsReplayAndNothingAfterItReturns(lost: Int) async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        for sequence in 1...24 as ClosedRange<UInt64> { try await fixture.write(journal, sequence) }
        let generation = try #require(try await fixture.generations().last)
        #expect(generation.files.count >= 2)
        let perFile = (64 << 10) / (4096 + 60)
        let path = "\(generation.path)/\(UInt64(1 + lost / perFile).hex)"
        var bytes = fixture.memory.bytes(path)
        let start = 32 + 76 + (lost % perFile) * (4096 + 60) + 100
        bytes.replaceSubrange(start..<start + 512, with: [UInt8](repeating: 0, count: 512))
        fixture.memory.set(path, bytes)
        let (found, summary) = try await fixture.replay()
        #expect(found == Array(fixture.entries.prefix(lost)))
        #expect(summary.isDamaged && !summary.isComplete && summary.tornBytes > 0)
    }

    @Test func lostLastEntryOfAFileStopsBeforeTheNextFile() async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        for sequence in 1...20 as ClosedRange<UInt64> { try await fixture.write(journal, sequence) }
        let generation = try #require(try await fixture.generations().last)
        let path = "\(generation.path)/\(UInt64(1).hex)"
        let bytes = fixture.memory.bytes(path)
        let perFile = (64 << 10) / (4096 + 60)
        let start = 32 + 76 + (perFile - 1) * (4096 + 60)
        fixture.memory.set(path, Array(bytes[..<start]) + [UInt8](repeating: 0, count: bytes.count - start))
        let (found, summary) = try await fixture.replay()
        #expect(found == Array(fixture.entries.prefix(perFile - 1)))
        #expect(summary.isDamaged)
    }

    @Test func entriesOfAnotherGenerationNeverReplay() async throws {
        let fixture = Fixture()
        let first = try await fixture.open(1)
        for sequence in 1...6 as ClosedRange<UInt64> { try await fixture.write(first, sequence) }
        let second = try await fixture.open(2)
        for sequence in 1...3 as ClosedRange<UInt64> { try await fixture.write(second, sequence) }
        let generations = try await fixture.generations()
        #expect(generations.map(\.token) == [OwnerToken(1), OwnerToken(2)] && generations.map(\.number) == [1, 2])
        #expect(generations[1].epoch == Epoch(9))
        let name = UInt64(1).hex
        let old = fixture.memory.bytes("\(generations[0].path)/\(name)")
        var new = fixture.memory.bytes("\(generations[1].path)/\(name)")
        // The old generation's entries where the new one's end, and then its whole file.
        let end = 32 + 76 + 3 * (4096 + 60)
        new.replaceSubrange(end..<end + 4156, with: old[end..<end + 4156])
        fixture.memory.set("\(generations[1].path)/\(name)", new)
        #expect(try await fixture.replay(generations[1]).0 == Array(fixture.entries.suffix(3)))
        fixture.memory.set("\(generations[1].path)/\(name)", old)
        #expect(try await fixture.replay(generations[1]).0.isEmpty)
    }

    @Test func anotherKeyReplaysNothing() async throws {
        let fixture = Fixture()
        let other = Fixture(fixture.disk)
        try await fixture.write(try await fixture.open(), 1)
        #expect(try await other.replay().0.isEmpty)
    }

    @Test func damagedTokenIsReportedAndAMissingOneIsNoGeneration() async throws {
        let fixture = Fixture()
        _ = try await fixture.open()
        let path = try #require(try await fixture.generations().last).path + "/token"
        let good = fixture.memory.bytes(path)
        for index in good.indices {
            var bytes = good
            bytes[index] ^= 0x10
            fixture.memory.set(path, bytes)
            await #expect(throws: StorageError.self) { _ = try await fixture.generations() }
        }
        try await fixture.disk.remove(path)
        #expect(try await fixture.generations().isEmpty)
        // The next opening clears away what never was a generation.
        _ = try await fixture.open(2)
        #expect(fixture.memory.fileNames.count == 2)
    }

    /// R2 against a disk that loses any sectors of what was not synced, in any order.
    @Test(arguments: 0..<24 as Range<UInt64>)
    func anyHostCrashLeavesAPrefixThatHoldsWhatWasSynced(seed: UInt64) async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        var random = SplitMix64(seed: seed)
        var released: UInt64 = 0
        for sequence in 1...UInt64.random(in: 1...60, using: &random) {
            switch UInt64.random(in: 0..<8, using: &random) {
            case 0: try await journal.sync(upTo: WriteSequence(sequence - 1))
            case 1:
                try await fixture.append(journal, sequence, .zero(BlockRange(first: BlockIndex(sequence), count: 9)))
            default: break
            }
            if journal.status.appended.value < sequence {
                try await fixture.write(journal, sequence, blocks: Int(sequence % 4) + 1)
            }
            if UInt64.random(in: 0..<16, using: &random) == 0 {
                released = sequence
                journal.release(upTo: WriteSequence(sequence))
            }
        }
        await journal.maintenanceIsIdle()
        let durable = max(journal.status.durable.value, released)
        let disk = fixture.memory.crashed(seed: seed &* 77)
        let generation = try #require(
            try await Journal.generations(directory: fixture.directory, volume: fixture.volume, disk: disk).last)
        var found: [JournalEntry] = []
        let summary = try await Journal.replay(generation, keys: fixture.keys, disk: disk) { found.append($0) }
        let first = Int(found.first?.sequence.value ?? summary.releasedUpTo.value + 1)
        #expect(first <= Int(released) + 1, "nothing that was not released is missing at the front")
        #expect(found == Array(fixture.entries.dropFirst(first - 1).prefix(found.count)))
        #expect(UInt64(first - 1 + found.count) >= min(durable, journal.status.appended.value) || durable == released)
        if durable > released { #expect(summary.last?.value ?? summary.releasedUpTo.value >= durable) }
        #expect(!summary.isSameBoot && !summary.isComplete)
    }
}
