import Journal
import StoreCore
import Synchronization
import Testing

@Suite struct SyncIsAPromise {
    @Test func failedSyncNeverAcknowledgesAgain() async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        try await fixture.write(journal, 1)
        try await journal.sync(upTo: WriteSequence(1))
        try await fixture.write(journal, 2)
        let before = fixture.memory.state.withLock { state in
            state.failsSync = true
            return state.syncs
        }
        await #expect(throws: StorageError.self) { try await journal.sync(upTo: WriteSequence(2)) }
        fixture.memory.state.withLock { $0.failsSync = false }
        let syncs = fixture.memory.state.withLock { $0.syncs }
        // The kernel may have dropped what it could not write: a second sync would succeed.
        #expect(syncs == before + 1)
        for sequence in [1, 2] as [UInt64] {
            await #expect(throws: StorageError.self) { try await journal.sync(upTo: WriteSequence(sequence)) }
        }
        #expect(throws: StorageError.self) { try fixture.appendNow(journal, 3, .resize(1)) }
        await #expect(throws: StorageError.self) { try await journal.makeRoom(bytes: 60 << 10) }
        #expect(fixture.memory.state.withLock { $0.syncs } == syncs)
        #expect(journal.hasFailed && journal.status.durable == WriteSequence(1))
        await #expect(throws: StorageError.self) { try await journal.close(deleting: false) }
        try await journal.close(deleting: true)
        #expect(fixture.memory.fileNames.isEmpty)
    }

    @Test func failedSyncFailsAllWhoWait() async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        try await fixture.write(journal, 1)
        fixture.memory.state.withLock {
            $0.failsSync = true
            $0.syncDelay = .milliseconds(20)
        }
        let failures = await withTaskGroup(of: Bool.self) { group in
            for _ in 0..<16 {
                group.addTask {
                    do {
                        try await journal.sync(upTo: WriteSequence(1))
                        return false
                    } catch { return true }
                }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(failures == 16)
    }

    @Test func concurrentSyncsShareOne() async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        fixture.memory.state.withLock { $0.syncDelay = .milliseconds(30) }
        for sequence in 1...64 as ClosedRange<UInt64> { try appendZeroes(fixture, journal, sequence) }
        try await syncAll(journal, 1...64)
        #expect(journal.status.durable == WriteSequence(64))
        #expect(journal.status.syncs == 1)
    }

    @Test func syncsThatComeDuringOneShareTheNext() async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        fixture.memory.state.withLock { $0.syncDelay = .milliseconds(30) }
        try appendZeroes(fixture, journal, 1)
        let before = fixture.memory.state.withLock { $0.syncs }
        let first = Task { try await journal.sync(upTo: WriteSequence(1)) }
        // Once it has begun it covers nothing that is appended now.
        while fixture.memory.state.withLock({ $0.syncs }) == before { try await Task.sleep(for: .milliseconds(1)) }
        for sequence in 2...64 as ClosedRange<UInt64> { try appendZeroes(fixture, journal, sequence) }
        try await syncAll(journal, 2...64)
        try await first.value
        #expect(journal.status.durable == WriteSequence(64))
        #expect(journal.status.syncs == 2)
    }
    private func appendZeroes(_ fixture: Fixture, _ journal: Journal, _ sequence: UInt64) throws {
        #expect(try fixture.appendNow(journal, sequence, .zero(BlockRange(first: BlockIndex(0), count: sequence))))
    }
    private func syncAll(_ journal: Journal, _ sequences: ClosedRange<UInt64>) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for sequence in sequences { group.addTask { try await journal.sync(upTo: WriteSequence(sequence)) } }
            try await group.waitForAll()
        }
    }

    @Test func syncCoversTheFilesBefore() async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        for sequence in 1...40 as ClosedRange<UInt64> { try await fixture.write(journal, sequence) }
        try await journal.sync(upTo: WriteSequence(40))
        #expect(fixture.memory.state.withLock { $0.syncs } == 3)
        try await fixture.write(journal, 41)
        try await journal.sync(upTo: WriteSequence(41))
        #expect(fixture.memory.state.withLock { $0.syncs } == 4)
    }
}

@Suite struct RoomIsBounded {
    @Test func writersWaitAtTheLimitUntilRelease() async throws {
        let fixture = Fixture(files: 3)
        let journal = try await fixture.open()
        var sequence: UInt64 = 0
        let operation = JournalOperation.write(
            BlockRange(first: BlockIndex(1), count: 4), Fixture.pattern(1, blocks: 4))
        fill: while true {
            while try fixture.appendNow(journal, sequence + 1, operation) { sequence += 1 }
            if journal.status.bytesOnDisk == limit(fixture) { break fill }
            try await journal.makeRoom(bytes: 16500)
        }
        #expect(sequence == 9)
        let isWaiting = Task { try await journal.makeRoom(bytes: 16500) }
        let isCancelled = Task { try await journal.makeRoom(bytes: 16500) }
        try await Task.sleep(for: .milliseconds(20))
        isCancelled.cancel()
        await #expect(throws: CancellationError.self) { try await isCancelled.value }
        #expect(try !fixture.appendNow(journal, sequence + 1, operation))
        journal.release(upTo: WriteSequence(2))
        #expect(try !fixture.appendNow(journal, sequence + 1, operation))
        journal.release(upTo: WriteSequence(3))
        try await isWaiting.value
        #expect(try fixture.appendNow(journal, sequence + 1, operation))
        #expect(journal.status.bytesOnDisk <= limit(fixture))
        // Replay begins after what was released.
        let (found, summary) = try await fixture.replay()
        #expect(found == Array(fixture.entries.dropFirst(3)))
        #expect(summary.releasedUpTo == WriteSequence(3))
    }
    private func limit(_ fixture: Fixture) -> Int { fixture.limits.bytesMax }

    @Test func fullDiskIsSaidAndPasses() async throws {
        let fixture = Fixture()
        fixture.memory.state.withLock {
            $0.failsCreate = StorageError(.full, "cannot reserve: No space left on device")
        }
        await #expect(throws: StorageError.self) { _ = try await fixture.open() }
        #expect(fixture.memory.fileNames.isEmpty && fixture.memory.state.withLock { $0.directories.count } <= 1)
        fixture.memory.state.withLock { $0.failsCreate = nil }
        let journal = try await fixture.open()
        fixture.memory.state.withLock {
            $0.failsCreate = StorageError(.full, "cannot reserve: No space left on device")
        }
        var failure: (any Error)?
        do { for sequence in 1...40 as ClosedRange<UInt64> { try await fixture.write(journal, sequence) } } catch {
            failure = error
        }
        #expect(failure?.storageCode == .full)
        fixture.memory.state.withLock { $0.failsCreate = nil }
        try await fixture.write(journal, 50)
        #expect(try await fixture.replay().0 == fixture.entries)
    }

    @Test func largestWriteFitsAndALargerOneIsRefused() async throws {
        let fixture = Fixture(fileBytes: 1 << 20)
        let journal = try await fixture.open()
        let most = fixture.limits.payloadBytesMax / blockBytes
        try await fixture.write(journal, 1, blocks: most)
        try await fixture.write(journal, 2, blocks: most)
        await #expect(throws: StorageError.self) { try await fixture.write(journal, 3, blocks: most + 1) }
        try await journal.close(deleting: false)
        let (found, summary) = try await fixture.replay()
        #expect(found == fixture.entries && summary.isClosed)
    }

    @Test func lagShowsWhatIsNotReleased() async throws {
        let fixture = Fixture()
        let journal = try await fixture.open()
        #expect(journal.status.oldestUnreleased == nil)
        for sequence in 1...4 as ClosedRange<UInt64> {
            fixture.time.time.withLock { $0 = Int64(sequence) * 1_000_000_000 }
            try await fixture.write(journal, sequence)
        }
        #expect(journal.status.oldestUnreleased?.seconds == 1)
        #expect(journal.status.bytesUnreleased == 4 * 4156)
        journal.release(upTo: WriteSequence(2))
        #expect(journal.status.oldestUnreleased?.seconds == 3)
        #expect(journal.status.bytesUnreleased == 2 * 4156)
        journal.release(upTo: WriteSequence(4))
        #expect(journal.status.bytesUnreleased == 0 && journal.status.oldestUnreleased == nil)
    }
}
