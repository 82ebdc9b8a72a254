import Journal
import ObjectStorage
import Snapshots
import StoreCore
import Synchronization
import Testing
import Volumes

private let remote = DeviceClient(peer: "10.0.0.9:4711")
private let local = DeviceClient(peer: "unix")

/// After a crash that could not keep what was answered, who may believe in it is refused.
@Suite struct LostWritesAreNotHidden {
    /// A host that was cut off after a flushed write and one that was only answered.
    private func crashed(
        bootID: UInt128?, store: any ObjectStore = MemoryStore(), _ change: (inout EngineSettings) -> Void = { _ in }
    ) async throws -> (dead: Engine, bed: TestBed) {
        let bed = try await TestBed(store: store)
        bed.settings.afterCrash = .local
        change(&bed.settings)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v", for: remote)
        try await device.write(pattern(1, count: 4096), at: 0, fua: true)
        try await device.write(pattern(2, count: 4096), at: 4096)
        return (engine, try await TestBed(crashed: bed, bootID: bootID))
    }
    /// A host that closed the volume, and whose next claim did not take place: its journal is there, and empty.
    ///
    /// - Parameter holdsWrite: not empty, as no claim that came to nothing leaves it.
    private func unclaimed(epoch: Epoch = Epoch(0), holdsWrite: Bool = false) async throws -> TestBed {
        let bed = try await TestBed()
        bed.settings.afterCrash = .local
        let engine = try await bed.open()
        let made = try await engine.create("v", sizeBytes: 1 << 20)
        try await engine.attach("v").write(pattern(1, count: 4096), at: 0)
        try await engine.close()
        let keys = try await SuperblockLog(store: bed.store, workers: bed.machine.workers).open(bed.unlock).keys
        let journal = try await Journal.create(
            directory: bed.dataDirectory + "/journal", volume: try #require(VolumeID(hex: made.id)), token: .random(),
            epoch: epoch, keys: keys, disk: bed.machine.disk, time: bed.machine.time)
        if holdsWrite {
            #expect(try journal.appendNow(WriteSequence(2), .zero(BlockRange(first: BlockIndex(0), count: 1))))
        }
        return bed
    }
    private func isRefused(_ engine: Engine, _ client: DeviceClient) async throws -> Bool {
        do {
            await engine.detach(try await engine.attach("v", for: client))
            return false
        } catch  where error.storageCode == .denied {
            return true
        }
    }

    @Test func aClientFromElsewhereIsRefusedAfterTheHostCrashed() async throws {
        let (dead, bed) = try await crashed(bootID: 7)
        let engine = try await bed.open()
        #expect(try await isRefused(engine, remote))
        #expect(bed.events.count(.writesLost) == 1)
        #expect(bed.events.count(.exportRefused) == 1)
        #expect(try await engine.info(VolumeReference(volume: "v")).summary.loss != nil)
        // A client of this machine ended with it.
        let device = try await engine.attach("v", for: local)
        #expect(try await device.bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await device.write(pattern(3, count: 4096), at: 8192, fua: true)
        await engine.detach(device)
        #expect(try await isRefused(engine, remote))
        try await engine.close()

        // Nor does a clean restart make it new.
        let second = try await bed.open()
        #expect(try await isRefused(second, remote))
        #expect(try await second.accept("v").wasLost)
        #expect(try await !isRefused(second, remote))
        #expect(try await !second.accept("v").wasLost)
        #expect(bed.events.count(.lossAccepted) == 1)
        try await second.close()
        let third = try await bed.open()
        #expect(try await !isRefused(third, remote))
        try await third.close()
        await dead.abandon()
    }

    @Test func aKilledServerServesItsOldClients() async throws {
        let (dead, bed) = try await crashed(bootID: nil)
        let engine = try await bed.open()
        let device = try await engine.attach("v", for: remote)
        #expect(try await device.bytes(at: 4096, count: 4096) == pattern(2, count: 4096))
        #expect(bed.events.count(.writesLost) == 0)
        #expect(bed.events.count(.journalReplayed) == 1)
        try await engine.close()
        await dead.abandon()
    }

    @Test func withoutAJournalAKilledServerRefusesEverybody() async throws {
        let (dead, bed) = try await crashed(bootID: nil) { $0.volume.isJournaled = false }
        let engine = try await bed.open()
        // Its own volume all the same: no take-over is needed.
        #expect(try await isRefused(engine, local))
        #expect(try await isRefused(engine, remote))
        #expect(try await engine.accept("v").wasLost)
        let device = try await engine.attach("v", for: remote)
        #expect(try await device.bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await engine.close()
        let again = try await bed.open()
        #expect(try await !isRefused(again, remote))
        try await again.close()
        await dead.abandon()
    }

    @Test(arguments: [AfterCrash.refuse, .serve]) func theSettingDecides(_ policy: AfterCrash) async throws {
        let (dead, bed) = try await crashed(bootID: 7) { $0.afterCrash = policy }
        let engine = try await bed.open()
        #expect(try await isRefused(engine, local) == (policy == .refuse))
        #expect(try await isRefused(engine, remote) == (policy == .refuse))
        #expect(bed.events.count(.writesLost) == 1)
        try await engine.close()
        await dead.abandon()
    }

    @Test func anAcceptanceThatWasGivenBeforeServesAtOnce() async throws {
        let (dead, bed) = try await crashed(bootID: 7) { $0.acceptsLoss = ["v"] }
        let engine = try await bed.open()
        #expect(try await !isRefused(engine, remote))
        #expect(bed.events.count(.lossAccepted) == 1)
        try await engine.close()
        await dead.abandon()
    }

    /// It is in force once the journals that tell of the loss are gone, and no client is served before.
    @Test func anAcceptanceThatWasGivenBeforeOutlivesAKill() async throws {
        let store = HookStore(MemoryStore())
        let (dead, bed) = try await crashed(bootID: 7, store: store) { $0.acceptsLoss = ["v"] }
        store.beforeCreate { key in
            if key.text.contains("/log/") { try await Task.sleep(for: .milliseconds(500)) }
        }
        let engine = try await bed.open()
        _ = try await engine.attach("v", for: remote)
        let killed = try await TestBed(crashed: bed, bootID: 7)
        killed.settings.acceptsLoss = []
        let again = try await killed.open()
        #expect(try await !isRefused(again, remote))
        try await again.close()
        await engine.abandon()
        await dead.abandon()
    }

    /// Without a journal, too, a command that was killed has lost nothing that a client believes in.
    @Test func aVolumeThatServedNoClientHasLostNothing() async throws {
        let bed = try await TestBed()
        bed.settings.afterCrash = .local
        bed.settings.volume.isJournaled = false
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        _ = try await engine.resize("v", to: 2 << 20, force: false)
        let killed = try await TestBed(crashed: bed, bootID: nil)
        let again = try await killed.open()
        #expect(try await !isRefused(again, remote))
        #expect(killed.events.count(.writesLost) == 0)
        try await again.close()
        await engine.abandon()
    }

    @Test func afterATakeOverClientsFromElsewhereWait() async throws {
        let first = try await TestBed()
        let second = try await TestBed(sharing: first)
        second.settings.takeOver = ["v"]
        second.settings.afterCrash = .local
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        try await one.attach("v").write(pattern(1, count: 4096), at: 0)
        #expect(try await isRefused(two, remote))
        #expect(second.events.count(.takenOver) == 1)
        #expect(try await two.accept("v").wasLost)
        #expect(try await !isRefused(two, remote))
        try await two.close()
        await one.abandon()
        #expect(first.events.count(.fenced) <= 1)
    }

    /// The claim succeeds, and the opening does not: the next one goes on with it, and takes over from nobody.
    @Test func alsoAfterATakeOverThatBrokeOff() async throws {
        let first = try await TestBed()
        let faults = FaultStore(first.store)
        let second = try await TestBed(sharing: first, through: faults)
        second.settings.takeOver = ["v"]
        second.settings.afterCrash = .local
        second.settings.snapshotsTakeOvers = true
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        try await one.attach("v").write(pattern(1, count: 4096), at: 0)
        faults.arm { request in
            let isFence = request.kind == .create && request.key?.text.contains("/log/") == true
            return isFence ? .failBefore(StorageError(.denied, "no fence")) : nil
        }
        await #expect(throws: StorageError.self) { _ = try await two.attach("v", for: remote) }
        faults.disarm()
        #expect(second.events.count(.writesLost) == 0)
        #expect(try await isRefused(two, remote))
        #expect(second.events.count(.writesLost) == 1)
        // What the first one's journal holds can still be brought back.
        #expect(try await two.list().contains { $0.name.hasPrefix("v@take-over-") })
        #expect(try await two.accept("v").wasLost)
        #expect(try await !isRefused(two, remote))
        try await two.close()
        // It is told once.
        let again = try await second.open()
        #expect(try await !isRefused(again, remote))
        try await again.close()
        await one.abandon()
    }

    /// The old owner's clients on this machine may reconnect to the new owner, and believe in what only that one knew.
    @Test func afterATakeOverOnTheSameMachineItsClientsWaitToo() async throws {
        let first = try await TestBed()
        let second = try await TestBed(sharing: first)
        second.settings.takeOver = ["v"]
        second.settings.afterCrash = .local
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        try await one.attach("v").write(pattern(1, count: 4096), at: 0)
        #expect(try await isRefused(two, local))
        #expect(try await isRefused(two, remote))
        try await two.close()
        // They end with the machine.
        second.machine.disk = AnotherBoot(base: SystemDisk.shared, boot: 7)
        let later = try await second.open()
        #expect(try await !isRefused(later, local))
        #expect(try await isRefused(later, remote))
        try await later.close()
        await one.abandon()
    }

    @Test func afterATakeOverFromAnotherMachineTheClientsHereAreServed() async throws {
        let first = try await TestBed()
        first.machine.host = "elsewhere"
        let second = try await TestBed(sharing: first)
        second.settings.takeOver = ["v"]
        second.settings.afterCrash = .local
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        try await one.attach("v").write(pattern(1, count: 4096), at: 0)
        #expect(try await !isRefused(two, local))
        #expect(try await isRefused(two, remote))
        try await two.close()
        await one.abandon()
    }

    /// The first host lost the volume to the second, which released it: the first one's clients know nothing of that.
    @Test(arguments: [true, false])
    func aVolumeThatComesBackIsNotServedToItsClientsOfThen(_ isJournaled: Bool) async throws {
        let first = try await TestBed()
        first.settings.afterCrash = .local
        first.settings.volume.isJournaled = isJournaled
        let second = try await TestBed(sharing: first)
        second.settings.takeOver = ["v"]
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        try await one.attach("v", for: local).write(pattern(1, count: 4096), at: 0)
        try await two.attach("v").write(pattern(2, count: 4096), at: 0, fua: true)
        try await two.close()
        await one.abandon()
        for _ in 0..<2 {
            let back = try await first.open()
            #expect(try await isRefused(back, local))
            #expect(try await isRefused(back, remote))
            try await back.close()
        }
        #expect(first.events.count(.writesLost) == 1)
        let back = try await first.open()
        #expect(try await back.accept("v").wasLost)
        #expect(try await !isRefused(back, remote))
        try await back.close()
        let again = try await first.open()
        #expect(try await !isRefused(again, local))
        #expect(try await again.journals().count == (isJournaled ? 1 : 0))
        try await again.close()
    }

    @Test func norWhereItsJournalWasDroppedBefore() async throws {
        let first = try await TestBed()
        first.settings.afterCrash = .local
        let second = try await TestBed(sharing: first)
        second.settings.takeOver = ["v"]
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        try await one.attach("v", for: local).write(pattern(1, count: 4096), at: 0)
        _ = try await two.attach("v")
        try await two.close()
        await one.abandon()
        let back = try await first.open()
        _ = try await back.dropJournal(try #require(try await back.journals().first).id, force: true)
        #expect(try await isRefused(back, local))
        try await back.close()
    }

    /// A loss that was noted before concerns fewer clients than the journal that goes.
    @Test func aDroppedJournalsClientsAreRefusedThoughALossWasPending() async throws {
        let elsewhere = try await TestBed()
        elsewhere.machine.host = "elsewhere"
        let first = try await TestBed(sharing: elsewhere)
        first.settings.takeOver = ["v"]
        first.settings.afterCrash = .local
        let second = try await TestBed(sharing: elsewhere)
        second.settings.takeOver = ["v"]
        let zero = try await elsewhere.open(), one = try await first.open(), two = try await second.open()
        _ = try await zero.create("v", sizeBytes: 1 << 20)
        try await zero.attach("v").write(pattern(1, count: 4096), at: 0)
        // Its clients were elsewhere: those of this machine are served.
        try await one.attach("v", for: local).write(pattern(2, count: 4096), at: 0)
        _ = try await two.attach("v")
        try await two.close()
        await one.abandon()
        first.settings.takeOver = []
        let back = try await first.open()
        _ = try await back.dropJournal(try #require(try await back.journals().first).id, force: true)
        #expect(try await isRefused(back, local))
        try await back.close()
        await zero.abandon()
    }

    /// Whom nobody answered has lost nothing, also where he may not be served.
    @Test func aRefusedClientIsNotOneThatWasAnswered() async throws {
        let elsewhere = try await TestBed()
        elsewhere.machine.host = "elsewhere"
        let bed = try await TestBed(sharing: elsewhere)
        bed.settings.takeOver = ["v"]
        bed.settings.afterCrash = .local
        bed.settings.volume.isJournaled = false
        let zero = try await elsewhere.open(), engine = try await bed.open()
        _ = try await zero.create("v", sizeBytes: 1 << 20)
        try await zero.attach("v").write(pattern(1, count: 4096), at: 0)
        #expect(try await isRefused(engine, remote))
        let killed = try await TestBed(crashed: bed, bootID: nil)
        killed.settings.takeOver = []
        let again = try await killed.open()
        #expect(try await !isRefused(again, local))
        try await again.close()
        await engine.abandon()
        await zero.abandon()
    }

    /// The claim of a take-over may land late, when nobody takes over any more.
    @Test func theNoteOfATakeOverStaysWhileItsClaimMayLand() async throws {
        let first = try await TestBed()
        let faults = FaultStore(first.store)
        let second = try await TestBed(sharing: first, through: faults)
        second.settings.takeOver = ["v"]
        second.settings.afterCrash = .local
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        try await one.attach("v").write(pattern(1, count: 4096), at: 0)
        let isArmed = Mutex(true)
        faults.arm { request in
            guard request.key?.text.contains("/manifest/") ?? false || request.prefix?.contains("/manifest/") ?? false
            else { return nil }
            if request.kind == .create,
                isArmed.withLock({ armed in
                    defer { armed = false }
                    return armed
                })
            {
                return .failThenHappen(StorageError(.unavailable, "no answer"))
            }
            return isArmed.withLock { $0 } ? nil : .failBefore(StorageError(.unavailable, "no answer"))
        }
        await #expect(throws: StorageError.self) { _ = try await two.attach("v", for: remote) }
        await two.abandon()
        faults.disarm()
        second.settings.takeOver = []
        let later = try await second.open()
        await #expect { _ = try await later.attach("v", for: remote) } throws: {
            ($0 as? StorageError)?.code == .busy
        }
        await one.abandon()
        await faults.releaseLate()
        #expect(try await isRefused(later, remote))
        #expect(second.events.count(.writesLost) == 1)
        try await later.close()
    }

    /// The host lost its power between the journal's creation and the claim: again nobody was answered.
    @Test func aClaimThatNeverWasIsNoLoss() async throws {
        let bed = try await unclaimed(epoch: Epoch(2))
        let crashed = try await TestBed(crashed: bed, bootID: 7)
        let again = try await crashed.open()
        #expect(try await !isRefused(again, remote))
        #expect(try await again.journals().isEmpty)
        #expect(crashed.events.count(.journalKept) == 0)
        try await again.close()
    }

    /// Its journal says no more when it is dropped before anybody opens the volume.
    @Test func norIsOneWhoseJournalIsDropped() async throws {
        let crashed = try await TestBed(crashed: try await unclaimed(epoch: Epoch(2)), bootID: 7)
        let again = try await crashed.open()
        _ = try await again.dropJournal(try #require(try await again.journals().first).id, force: true)
        #expect(try await !isRefused(again, remote))
        #expect(crashed.events.count(.writesLost) == 0)
        try await again.close()
    }

    /// The store was set back, and what this data directory had seen of it is lost. Its epoch looks as if nobody had
    /// ever claimed it, and writes were answered in it all the same.
    @Test func aJournalThatHoldsWritesStaysWhateverItsEpoch() async throws {
        let bed = try await unclaimed(epoch: Epoch(9), holdsWrite: true)
        let again = try await bed.open()
        #expect(try await isRefused(again, remote))
        #expect(bed.events.count(.journalKept) == 1)
        #expect(bed.events.count(.writesLost) == 1)
        #expect(try await again.journals().map(\.writes) == [1])
        try await again.close()
        // Nor does the next opening take it away, or forget its clients.
        let last = try await bed.open()
        #expect(try await isRefused(last, remote))
        #expect(try await last.journals().count == 1)
        try await last.close()
    }

    /// An outage while a volume was being opened is no loss: nobody was answered.
    @Test func anOpeningThatCameToNothingIsNoLoss() async throws {
        let bed = try await unclaimed()
        let again = try await bed.open()
        #expect(try await !isRefused(again, remote))
        #expect(bed.events.count(.writesLost) == 0)
        #expect(bed.events.count(.journalKept) == 1)
        // Nor does dropping it make one.
        _ = try await again.dropJournal(try #require(try await again.journals().first).id, force: true)
        try await again.close()
        let last = try await bed.open()
        #expect(try await !isRefused(last, remote))
        try await last.close()
    }
}
