import Cleaner
import Codec
import Logging
import ObjectStorage
import Snapshots
import StoreCore
import Synchronization
import Testing

@testable import Volumes

/// Data keys change while volumes live, and nothing is lost.
@Suite struct KeysRotate {
    private static let size: UInt64 = 8 << 20

    private func write(_ engine: Engine, _ name: String, seed: UInt64, count: Int = 1 << 20) async throws {
        let device = try await engine.attach(name)
        try await device.write(pattern(seed, count: count), at: 0)
        try await device.flush()
        await engine.detach(device)
    }
    private func read(_ engine: Engine, _ name: String, count: Int = 1 << 20) async throws -> [UInt8] {
        let device = try await engine.attach(name)
        let bytes = try await device.bytes(at: 0, count: count)
        await engine.detach(device)
        return bytes
    }
    private func usage(_ bed: TestBed) async throws -> [DataKeyID: KeyUsage] {
        let engine = try await bed.open()
        let usage = try await engine.surveyKeys { _ in }
        try await engine.close()
        return usage
    }

    @Test func newObjectsAreUnderTheNewKeyAndOldOnesStayReadable() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("a", sizeBytes: Self.size)
        try await write(engine, "a", seed: 1)
        _ = try await engine.snapshot("a", name: "s")
        let report = try await engine.rotateKeys(rewrite: false) { _ in }
        #expect(report.current == 2 && report.older == [1])
        try await write(engine, "a", seed: 2)
        #expect(try await read(engine, "a@s") == pattern(1, count: 1 << 20))
        try await engine.close()
        let again = try await bed.open()
        #expect(try await read(again, "a") == pattern(2, count: 1 << 20))
        #expect(try await read(again, "a@s") == pattern(1, count: 1 << 20))
        let keys = try await again.listKeys(counting: true) { _ in }
        #expect(keys.keys.map(\.id) == [1, 2] && keys.keys.allSatisfy { $0.isHeld && $0.objects ?? 0 > 0 })
        #expect(keys.keys.map(\.isCurrent) == [false, true])
        try await again.close()
        #expect(try await bed.store.list(prefix: "superblock/", after: nil, limit: 10).objects.count == 1)
    }

    /// A server that was not told goes on under the old key, and learns when it meets the new one.
    @Test func anotherHostLearnsWhenItMeetsTheKey() async throws {
        let bed = try await TestBed()
        let other = try await TestBed(sharing: bed)
        let engine = try await bed.open()
        let second = try await other.open()
        _ = try await engine.create("a", sizeBytes: Self.size)
        _ = try await second.create("b", sizeBytes: Self.size)
        try await write(second, "b", seed: 3)
        _ = try await engine.rotateKeys(rewrite: false) { _ in }
        try await write(engine, "a", seed: 4)
        #expect(second.keys.currentKeyID == DataKeyID(1))
        _ = try await engine.snapshot("a", name: "s")
        // Its catalog is under the new key.
        #expect(try await read(second, "a@s") == pattern(4, count: 1 << 20))
        #expect(second.keys.currentKeyID == DataKeyID(2))
        try await write(second, "b", seed: 5)
        #expect(try await read(second, "b") == pattern(5, count: 1 << 20))
        try await second.close()
        try await engine.close()
    }

    @Test func aJournalUnderTheOldKeyIsReplayed() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("a", sizeBytes: Self.size)
        let device = try await engine.attach("a")
        try await device.write(pattern(1, count: 1 << 20), at: 0)
        _ = try await engine.rotateKeys(rewrite: false) { _ in }
        try await device.write(pattern(2, count: 4096), at: 0)
        await engine.abandon()
        let again = try await bed.open()
        let expected = pattern(2, count: 4096) + pattern(1, count: 1 << 20).dropFirst(4096)
        #expect(try await read(again, "a") == expected)
        try await again.close()
    }

    @Test func rewritingRetiresTheOldKeyAndKeepsEveryByte() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("a", sizeBytes: Self.size)
        _ = try await engine.create("empty", sizeBytes: Self.size)
        for seed in 1...4 {
            try await write(engine, "a", seed: UInt64(seed), count: (5 - seed) << 18)
            if seed == 2 { _ = try await engine.snapshot("a", name: "s") }
        }
        _ = try await engine.branch(VolumeReference(volume: "a", snapshot: "s"), to: "b")
        try await write(engine, "b", seed: 9, count: 4096)
        _ = try await engine.collectGarbage(dryRun: false) { _ in }
        var expected: [String: [UInt8]] = [:]
        for name in ["a", "a@s", "b", "empty"] { expected[name] = try await read(engine, name) }
        try await engine.close()

        let command = try await bed.open()
        let report = try await command.rotateKeys(rewrite: true) { _ in }
        #expect(report.rewrite?.isFinished == true, "\(String(describing: report.rewrite))")
        #expect(report.rewrite?.retired == [1])
        #expect(report.rewrite?.segmentsRewritten ?? 0 > 0)
        try await command.close()

        // Only what was sealed under the new key counts from here on.
        #expect(try await usage(bed).filter { $0.value.needed > 0 }.keys.sorted() == [DataKeyID(2)])
        let fresh = try await TestBed(sharing: bed).open()
        #expect(fresh.keys.keyIDs == [DataKeyID(2)])
        for (name, bytes) in expected { #expect(try await read(fresh, name) == bytes, "\(name)") }
        #expect(try await fresh.verify(nil, deep: true) { _ in }.isSound)
        _ = try await fresh.collectGarbage(dryRun: false) { _ in }
        for (name, bytes) in expected { #expect(try await read(fresh, name) == bytes, "\(name) after gc") }
        let again = try await fresh.rewriteKeys { _ in }
        #expect(again.isFinished && again.retired.isEmpty)
        try await fresh.close()
    }

    /// What was opened before the rotation may have things under the old key on their way.
    @Test func aKeyIsKeptWhileSomeoneMayStillUseIt() async throws {
        let bed = try await TestBed()
        let other = try await TestBed(sharing: bed)
        let engine = try await bed.open()
        let second = try await other.open()
        _ = try await engine.create("a", sizeBytes: Self.size)
        _ = try await second.create("b", sizeBytes: Self.size)
        try await write(engine, "a", seed: 1)
        try await write(second, "b", seed: 2)
        let report = try await engine.rotateKeys(rewrite: true) { _ in }
        let reasons = report.rewrite?.reasons ?? []
        #expect(report.rewrite?.retired == [])
        #expect(reasons.contains { $0.contains("'a' was opened before") }, "\(reasons)")
        #expect(reasons.contains { $0.contains("'b' is open on") }, "\(reasons)")
        try await second.close()
        try await engine.close()
        let restarted = try await bed.open()
        let done = try await restarted.rewriteKeys { _ in }
        #expect(done.isFinished && done.retired == [1], "\(done)")
        #expect(try await read(restarted, "a") == pattern(1, count: 1 << 20))
        #expect(try await read(restarted, "b") == pattern(2, count: 1 << 20))
        try await restarted.close()
    }

    /// A command that was paused between what it sealed and the commit that names it.
    @Test func whatIsNamedAfterARotationIsUnderAKeyThatStays() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("a", sizeBytes: Self.size)
        try await write(engine, "a", seed: 1)
        try await engine.close()
        let rotated = Mutex(false)
        let elsewhere = try await TestBed(sharing: bed)
        let (store, unlock, settings) = (bed.store, bed.unlock, elsewhere.settings)
        let pausing = FaultStore(bed.store) { request in
            let isVersion = request.keys.contains { $0.text.contains("/version/") } && request.kind == .create
            guard isVersion, rotated.withLock({ was in !exchange(&was, with: true) }) else { return nil }
            let other = try await Engine.open(
                store: store, unlock: unlock, settings: settings, log: Logger(label: "test"))
            let report = try await other.rotateKeys(rewrite: true) { _ in }
            #expect(report.rewrite?.retired == [1], "\(String(describing: report.rewrite))")
            try await other.close()
            return nil
        }
        let paused = try await TestBed(sharing: bed, through: pausing).open()
        _ = try await paused.snapshot("a", name: "s")
        #expect(rotated.withLock { $0 } && paused.keys.currentKeyID == DataKeyID(2))
        try await paused.close()
        let fresh = try await TestBed(sharing: bed).open()
        #expect(fresh.keys.keyIDs == [DataKeyID(2)])
        #expect(try await read(fresh, "a@s") == pattern(1, count: 1 << 20))
        #expect(try await fresh.verify(nil, deep: true) { _ in }.isSound)
        try await fresh.close()
    }

    @Test func aWitnessIsReadAsItWasPrinted() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("a", sizeBytes: Self.size)
        let witness = try await engine.witness()
        #expect(try StoreWitness(parsing: witness.text) == witness)
        #expect(witness.volumes.count == 1 && witness.catalog.number > 0)
        for text in ["", "zerofs witness 1\n", witness.text.replacing("end 4", with: "end 5"), witness.text + "x"] {
            #expect(throws: StorageError.self) { try StoreWitness(parsing: text) }
        }
        #expect(try await engine.problems(since: witness).isEmpty)
        var later = witness
        later.catalog.number += 1
        #expect(try await engine.problems(since: later).count == 1)
        try await engine.close()
    }

    /// A commit that stalled may land in the place of a number that gc has deleted, and means nothing there.
    @Test func aWitnessComparesOnlyWhatGCHasNotGivenUp() async throws {
        let memory = MemoryStore()
        let bed = try await TestBed(store: memory)
        let first = try await bed.open()
        _ = try await first.create("a", sizeBytes: Self.size)
        try await write(first, "a", seed: 1)
        try await first.close()
        let second = try await bed.open()
        let witness = try await second.witness()
        let id = try #require(witness.volumes.keys.first)
        let seen = try #require(witness.volumes[id]?.manifest)
        try await write(second, "a", seed: 2)
        try await second.close()

        let third = try await bed.open()
        let key = Manifest.key(of: id, number: seen.number)
        let original = try await memory.get(key)
        memory.replace(key, [1])
        #expect(try await third.problems(since: witness).keys.sorted() == [key.text])
        var unread = witness
        unread.volumes[id]?.manifest.hash = .zero
        #expect(try await third.problems(since: unread).isEmpty)

        memory.replace(key, original)
        _ = try await third.collectGarbage(dryRun: false) { _ in }
        #expect(try await memory.head(key) == nil)
        memory.replace(key, [1])
        #expect(try await third.problems(since: witness).isEmpty)
        try await third.close()
    }

    /// Its epoch is over, and its hold came into the catalog when the next opening had looked already.
    @Test func aBrokenRollbackThatEnteredItsHoldLateIsNotWaitedFor() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await engine.create("a", sizeBytes: Self.size)
        try await write(engine, "a", seed: 1)
        _ = try await engine.snapshot("a", name: "s")
        _ = try await engine.rotateKeys(rewrite: false) { _ in }
        try await engine.close()

        let again = try await bed.open()
        try await write(again, "a", seed: 2)
        let target = VolumeReference(volume: "a", snapshot: "s")
        let snapshot = try #require(try await again.catalog.newest().resolve(target).1)
        let hold = RollbackHold(epoch: Epoch(1))
        try await again.catalog.commit { try $0.hold(.snapshot(snapshot.id), tag: hold.tag) }
        let report = try await again.rewriteKeys { _ in }
        #expect(report.isFinished && report.retired == [1], "\(report)")
        #expect(try await again.list().flatMap(\.holds).isEmpty)
        #expect(try await read(again, "a@s") == pattern(1, count: 1 << 20))
        try await again.close()
    }

    /// Stopped after any number of requests, and run again.
    @Test func aRewriteThatIsCutOffGoesOn() async throws {
        var cut = 12
        var isDone = false
        while !isDone {
            let memory = MemoryStore()
            let bed = try await TestBed(store: memory)
            let engine = try await bed.open()
            _ = try await engine.create("a", sizeBytes: Self.size)
            try await write(engine, "a", seed: 1, count: 1 << 18)
            _ = try await engine.snapshot("a", name: "s")
            try await write(engine, "a", seed: 2, count: 1 << 17)
            try await engine.close()
            let expected = pattern(2, count: 1 << 17) + pattern(1, count: 1 << 18).dropFirst(1 << 17)
            let end = cut
            let failing = FaultStore(memory) { request in
                if request.number >= end { throw StorageError(.cancelled, "cut off") }
                return nil
            }
            let first = try await TestBed(sharing: bed, through: failing)
            do {
                let command = try await first.open()
                do {
                    isDone = try await command.rotateKeys(rewrite: true) { _ in }.rewrite?.isFinished ?? false
                } catch { isDone = false }
                await command.abandon()
            } catch { isDone = false }
            var settings = first.settings
            settings.takeOver = ["a"]
            first.settings = settings
            let second = try await TestBed(sharing: bed)
            second.settings.takeOver = ["a"]
            let command = try await second.open()
            #expect(try await read(command, "a", count: 1 << 18) == expected, "cut at \(cut)")
            #expect(try await read(command, "a@s", count: 1 << 18) == pattern(1, count: 1 << 18), "cut at \(cut)")
            let report = try await command.rewriteKeys { _ in }
            #expect(report.isFinished, "cut at \(cut): \(report)")
            #expect(try await read(command, "a", count: 1 << 18) == expected, "cut at \(cut)")
            #expect(try await read(command, "a@s", count: 1 << 18) == pattern(1, count: 1 << 18), "cut at \(cut)")
            try await command.close()
            cut += 17
        }
    }
}

@Suite struct ThePassphraseChanges {
    private let old = Unlock.keyFile([UInt8](repeating: 7, count: 32))
    private let new = Unlock.keyFile([UInt8](repeating: 8, count: 32))

    @Test func onlyTheNewOneOpensTheStoreAndNoOldSuperblockStays() async throws {
        let bed = try await TestBed()
        let log = SuperblockLog(store: bed.store, workers: .inline())
        let (number, wasDone) = try await log.rewrap(from: old, to: new)
        #expect(number == 2 && !wasDone)
        #expect(try await log.objects.numbers() == [2])
        await #expect { try await log.open(old) } throws: { $0.storageCode == .denied }
        #expect(try await log.open(new).keys.keyIDs == [DataKeyID(1)])
        // Again, as after a crash.
        #expect(try await log.rewrap(from: old, to: new) == (2, true))
        let third = Unlock.passphrase(Array("x".utf8))
        await #expect { try await log.rewrap(from: old, to: third) } throws: { $0.storageCode == .denied }
    }

    /// It saw an empty bucket and was held up, until the number that it creates had been used and deleted.
    @Test func anInitThatComesLateMakesNoSecondStore() async throws {
        let memory = MemoryStore()
        let log = SuperblockLog(store: memory, workers: .inline())
        let held = FaultStore(memory) { [old, new] request in
            guard request.kind == .create, request.key == log.objects.key(1) else { return nil }
            try await Engine.initialize(store: memory, unlock: old)
            _ = try await log.rewrap(from: old, to: new)
            return nil
        }
        let late = Unlock.keyFile([UInt8](repeating: 9, count: 32))
        await #expect { try await Engine.initialize(store: held, unlock: late) } throws: {
            $0.storageCode == .alreadyExists
        }
        #expect(try await log.objects.numbers() == [2])
        _ = try await log.open(new)
    }

    /// A crash between any two requests leaves a store that opens with one of the two, and the same command ends it.
    @Test func itMayCrashAnywhere() async throws {
        for cut in 0..<12 {
            let memory = MemoryStore()
            let bed = try await TestBed(store: memory)
            let failing = FaultStore(memory) { request in
                if request.number >= cut { throw StorageError(.cancelled, "cut off") }
                return nil
            }
            do { _ = try await SuperblockLog(store: failing, workers: .inline()).rewrap(from: old, to: new) } catch {
                #expect(error.storageCode == .cancelled)
            }
            let log = SuperblockLog(store: bed.store, workers: .inline())
            _ = try await log.rewrap(from: old, to: new)
            #expect(try await log.objects.numbers() == [2])
            #expect(try await log.open(new).keys.keyIDs == [DataKeyID(1)])
        }
    }

    @Test func ofTwoAtOnceOneHasItsWayAndTheOtherIsTold() async throws {
        for _ in 0..<20 {
            let bed = try await TestBed()
            let log = SuperblockLog(store: bed.store, workers: .inline())
            let third = Unlock.keyFile([UInt8](repeating: 9, count: 32))
            let wishes = [new, third]
            let outcomes = await withTaskGroup(of: (Int, ErrorCode?).self) { group in
                for (index, wish) in wishes.enumerated() {
                    group.addTask { [old] in
                        do {
                            _ = try await log.rewrap(from: old, to: wish)
                            return (index, nil)
                        } catch { return (index, error.storageCode) }
                    }
                }
                return await group.reduce(into: [Int: ErrorCode?]()) { $0[$1.0] = $1.1 }
            }
            let winners = outcomes.filter { $0.value == nil }.keys
            #expect(winners.count == 1, "\(outcomes)")
            #expect(outcomes.values.compactMap(\.self).allSatisfy { [.busy, .denied].contains($0) })
            if let winner = winners.first { _ = try await log.open(wishes[winner]) }
            #expect(try await log.objects.numbers().count == 1)
        }
    }

    @Test func gcTakesWhatACrashLeft() async throws {
        let bed = try await TestBed()
        let key = NumberedObjects.key(prefix: "superblock", number: 1)
        let first = try await bed.store.get(key)
        let engine = try await bed.open()
        _ = try await engine.rotateKeys(rewrite: false) { _ in }
        _ = try await bed.store.create(key, first)
        _ = try await engine.collectGarbage(dryRun: false) { _ in }
        #expect(try await bed.store.head(key) == nil)
        try await engine.close()
    }

    /// Under a number that makes it look like the newest: gc would delete the genuine one, and with it the key.
    @Test func anOlderSuperblockUnderAHigherNumberReplacesNothing() async throws {
        let bed = try await TestBed()
        let first = try await bed.store.get(NumberedObjects.key(prefix: "superblock", number: 1))
        let engine = try await bed.open()
        _ = try await engine.rotateKeys(rewrite: false) { _ in }
        _ = try await bed.store.create(NumberedObjects.key(prefix: "superblock", number: 3), first)
        await #expect { _ = try await engine.collectGarbage(dryRun: false) { _ in } } throws: {
            $0.storageCode == .corrupt && "\($0)".contains(NumberedObjects.key(prefix: "superblock", number: 3).text)
        }
        #expect(try await bed.store.head(NumberedObjects.key(prefix: "superblock", number: 2)) != nil)
        try await engine.close()
    }

    @Test func aStoreThatShowsAnOlderSuperblockIsRefused() async throws {
        let bed = try await TestBed()
        let key = NumberedObjects.key(prefix: "superblock", number: 1)
        let first = try await bed.store.get(key)
        let engine = try await bed.open()
        _ = try await engine.rotateKeys(rewrite: false) { _ in }
        try await engine.close()
        try await bed.store.delete([NumberedObjects.key(prefix: "superblock", number: 2)])
        _ = try await bed.store.create(key, first)
        await #expect { try await bed.open() } throws: { $0.storageCode == .corrupt }
    }
}
