import Journal
import StoreCore
import Synchronization
import Testing

/// After a sync that failed the kernel counts the pages as written: a later sync succeeds without them, and they may go
/// at any time. The next opening must neither answer for such pages nor take what is left for all.
@Suite struct AFailedSyncIsRemembered {
    /// Two writes are on the disk, two more are not, and the process was killed.
    private func failed() async throws -> Fixture {
        let fixture = Fixture()
        let journal = try await fixture.open()
        for sequence in 1...2 as ClosedRange<UInt64> { try await fixture.write(journal, sequence) }
        try await journal.sync(upTo: WriteSequence(2))
        for sequence in 3...4 as ClosedRange<UInt64> { try await fixture.write(journal, sequence) }
        fixture.memory.state.withLock { $0.failsSync = true }
        await #expect(throws: StorageError.self) { try await journal.sync(upTo: WriteSequence(4)) }
        fixture.memory.state.withLock { $0.failsSync = false }
        return fixture
    }

    @Test func whatIsReplayedSurvivesTheHostAllTheSame() async throws {
        let fixture = try await failed()
        let (found, summary) = try await fixture.replay()
        #expect(found == fixture.entries && summary.isComplete)
        for file in fixture.memory.files { file.evict() }
        #expect(try await fixture.replay().0 == fixture.entries)
    }

    @Test func whatWasDroppedIsMissed() async throws {
        let fixture = try await failed()
        for file in fixture.memory.files { file.evict() }
        let (found, summary) = try await fixture.replay()
        #expect(found == Array(fixture.entries.prefix(2)))
        #expect(summary.isSameBoot && !summary.isDamaged && !summary.isComplete)
        // Once it is in the log nothing is missing.
        #expect(summary.isComplete(with: WriteSequence(4)) && !summary.isComplete(with: WriteSequence(3)))
    }

    /// Written back by the kernel on its own, and failed: only who syncs next is told, and only once.
    @Test func aSyncThatFailsInAReplayIsRememberedToo() async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        for sequence in 1...2 as ClosedRange<UInt64> { try await fixture.write(journal, sequence) }
        fixture.memory.state.withLock { $0.failsSync = true }
        // Nor can it be kept.
        await #expect(throws: StorageError.self) { try await fixture.replay() }
        fixture.memory.state.withLock { $0.failsSync = false }
        let (found, summary) = try await fixture.replay()
        #expect(found == fixture.entries && !summary.isComplete)
        for file in fixture.memory.files { file.evict() }
        #expect(try await fixture.replay().0 == fixture.entries)
    }

    @Test func whoOnlyLooksChangesNothing() async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        try await fixture.write(journal, 1)
        let before = fixture.memory.state.withLock { $0.syncs }
        let generation = try #require(try await fixture.generations().last)
        let summary = try await Journal.read(generation, keys: fixture.keys, disk: fixture.disk) { _ in }
        #expect(summary.entries == 1 && summary.isComplete)
        #expect(fixture.memory.state.withLock { $0.syncs } == before)
        try await fixture.write(journal, 2)
        #expect(try await fixture.replay().0 == fixture.entries)
    }
}
