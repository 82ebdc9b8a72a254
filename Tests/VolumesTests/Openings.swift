import Foundation
import Journal
import ObjectStorage
import Snapshots
import StoreCore
import Synchronization
import Testing
import Volumes

private let remote = DeviceClient(peer: "10.0.0.9:4711")
private let local = DeviceClient(peer: "unix")

extension Engine {
    fileprivate func refuses(_ client: DeviceClient) async throws -> Bool {
        do {
            await detach(try await attach("v", for: client))
            return false
        } catch  where error.storageCode == .denied {
            return true
        }
    }
}

extension TestBed {
    fileprivate var generations: [JournalGeneration] {
        get async throws {
            var found: [JournalGeneration] = []
            let directory = dataDirectory + "/journal"
            for volume in try await Journal.volumes(directory: directory, disk: SystemDisk.shared) {
                found += try await Journal.generations(directory: directory, volume: volume, disk: SystemDisk.shared)
            }
            return found
        }
    }
}

/// The kernel counts pages whose writing failed as written, and drops them when it likes.
@Suite(.timeLimit(.minutes(10))) struct AJournalThatFailedIsNotBelieved {
    /// A server in mode `journal` whose disk failed and whose store was away, killed after a write that it answered.
    private func killed() async throws -> TestBed {
        let faults = FaultStore(MemoryStore())
        let bed = try await TestBed(store: faults)
        let disk = FaultyDisk()
        bed.machine.disk = disk
        bed.settings.afterCrash = .local
        bed.settings.volume.durability = .journal
        bed.settings.volume.storeDeadline = .seconds(1)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 4096), at: 0, fua: true)
        faults.arm { $0.kind == .create ? .failBefore(StorageError(.unavailable, "the store is away")) : nil }
        try await device.write(pattern(2, count: 4096), at: 4096)
        disk.faults.withLock { $0.failsSync = true }
        await #expect(throws: StorageError.self) { try await device.flush() }
        await engine.abandon()
        faults.disarm()
        let crashed = try await TestBed(crashed: bed, bootID: nil)
        crashed.settings.volume.storeDeadline = nil
        return crashed
    }

    @Test func whatThePageCacheStillHasIsServed() async throws {
        let bed = try await killed()
        let engine = try await bed.open()
        let device = try await engine.attach("v", for: remote)
        #expect(try await device.bytes(at: 4096, count: 4096) == pattern(2, count: 4096))
        #expect(bed.events.count(.writesLost) == 0)
        try await engine.close()
    }

    @Test func whatItDroppedIsALossAndIsTold() async throws {
        let bed = try await killed()
        let generation = try #require(try await bed.generations.last)
        let path = "\(generation.path)/\(String(repeating: "0", count: 15))1"
        var bytes = [UInt8](try Data(contentsOf: URL(filePath: path)))
        let end = try #require(bytes.lastIndex { $0 != 0 })
        bytes.replaceSubrange(end - 4100...end, with: [UInt8](repeating: 0, count: 4101))
        try Data(bytes).write(to: URL(filePath: path))
        let engine = try await bed.open()
        #expect(try await engine.refuses(remote))
        #expect(bed.events.count(.writesLost) == 1)
        #expect(try await engine.accept("v").wasLost)
        #expect(try await engine.attach("v").bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await engine.close()
    }

    /// All of it had been uploaded before the volume was given up; whether the disk still reads it is of no account.
    @Test(arguments: [true, false]) func whatReachedTheStoreIsNoLoss(isReadable: Bool) async throws {
        let bed = try await TestBed()
        let disk = FaultyDisk()
        bed.machine.disk = disk
        bed.settings.afterCrash = .local
        bed.settings.volume.durability = .journal
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 4096), at: 0)
        disk.faults.withLock { $0.failsSync = true }
        // The store answers for it; and then the volume may have ended.
        do { try await device.flush() } catch { #expect(error.storageCode == .unavailable) }
        disk.faults.withLock { $0.failsSync = false }
        await engine.detach(device)
        while bed.events.count(.volumeFailed) == 0 { try await Task.sleep(for: .milliseconds(10)) }
        if !isReadable {
            let file = "\(try #require(try await bed.generations.first).path)/\(String(repeating: "0", count: 15))1"
            try FileManager.default.removeItem(atPath: file)
            try FileManager.default.createDirectory(atPath: file, withIntermediateDirectories: false)
        }
        #expect(try await !engine.refuses(remote))
        #expect(bed.events.count(.writesLost) == 0)
        try await engine.close()
    }
}

@Suite(.timeLimit(.minutes(10))) struct AnOpeningLeavesNoFalseAlarm {
    /// Without a journal, with a claim whose outcome nobody knew and that another server won.
    @Test func whereAnotherWonTheClaim() async throws {
        let store = HookStore(MemoryStore())
        let first = try await TestBed(store: store)
        first.settings.volume.isJournaled = false
        first.settings.afterCrash = .local
        let second = try await TestBed(sharing: first)
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        store.beforeCreate { key in
            if key.text.contains("/manifest/") { throw StorageError(.unavailable, "the store is away") }
        }
        await #expect(throws: StorageError.self) { try await one.attach("v") }
        store.beforeCreate(nil)
        await one.abandon()
        #expect(try await first.generations.map(\.kind) == [.claim])
        try await two.attach("v").write(pattern(1, count: 4096), at: 0, fua: true)
        try await two.close()
        let back = try await first.open()
        #expect(try await !back.refuses(remote))
        #expect(first.events.count(.writesLost) == 0)
        try await back.close()
    }

    /// The store has everything, and the manifest says so: nothing failed.
    @Test func whereAClosedJournalCannotBeRemoved() async throws {
        let bed = try await TestBed()
        let disk = FaultyDisk()
        bed.machine.disk = disk
        bed.settings.afterCrash = .local
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        try await engine.attach("v").write(pattern(1, count: 4096), at: 0)
        disk.faults.withLock { $0.failsRemove = true }
        try await engine.close()
        #expect(bed.events.count(.closedDirty) == 0)
        #expect(try await bed.generations.count == 1)
        disk.faults.withLock { $0.failsRemove = false }
        let again = try await bed.open()
        let device = try await again.attach("v", for: remote)
        #expect(try await device.bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        #expect(try await bed.generations.count == 1)
        #expect(bed.events.count(.writesLost) == 0)
        #expect(bed.events.count(.journalKept) == 0)
        try await again.close()
        #expect(try await bed.generations.isEmpty)
    }

    /// Without a journal, with a first client that comes while the volume is closed: the mark that tells of answers is
    /// on its way to a slow disk. Left behind, it would speak of a loss once another host has had the volume.
    @Test func whereAClientComesAsTheVolumeCloses() async throws {
        let bed = try await TestBed()
        let disk = FaultyDisk()
        bed.machine.disk = disk
        bed.settings.volume.isJournaled = false
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        // Opens it, and serves nobody.
        _ = try await engine.resize("v", to: 2 << 20, force: false)
        let isHeld = Mutex(false), hasBegun = Mutex(false), isRemoving = Mutex(false)
        disk.beforeChange { change, path in
            switch change {
            case .put where path.hasSuffix("/token"):
                isHeld.withLock { $0 = true }
                hasBegun.withLock { $0 = true }
                // It comes where the old mark has just gone, if the volume's end does not wait for it.
                for _ in 0..<100 where !isRemoving.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(10)) }
                isHeld.withLock { $0 = false }
            case .removeDirectory where isHeld.withLock { $0 }:
                isRemoving.withLock { $0 = true }
                for _ in 0..<500 where try await !SystemDisk.shared.list(path).contains("token") {
                    try await Task.sleep(for: .milliseconds(10))
                }
            default: break
            }
        }
        let attaching = Task { try await engine.attach("v") }
        while !hasBegun.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(1)) }
        try await engine.close()
        await #expect { _ = try await attaching.value } throws: { $0.storageCode == .busy }
        #expect(try await bed.generations.isEmpty)
    }

    @Test func norARollbackThatHappenedAFailure() async throws {
        let bed = try await TestBed()
        let disk = FaultyDisk()
        bed.machine.disk = disk
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let device = try await engine.attach("v")
        try await device.write(pattern(1, count: 4096), at: 0)
        _ = try await engine.snapshot("v", name: "s")
        try await device.write(pattern(2, count: 4096), at: 0)
        await engine.detach(device)
        disk.faults.withLock { $0.failsRemove = true }
        _ = try await engine.rollback(VolumeReference(volume: "v", snapshot: "s"), force: true)
        disk.faults.withLock { $0.failsRemove = false }
        #expect(try await engine.attach("v").bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        _ = try await engine.delete(VolumeReference(volume: "v", snapshot: "s"), force: false)
        try await engine.close()
    }
}

@Suite(.timeLimit(.minutes(10))) struct AJournalInUseIsNotDropped {
    @Test func whileItsVolumeIsBeingOpened() async throws {
        let store = HookStore(MemoryStore())
        let bed = try await TestBed(store: store)
        let engine = try await bed.open()
        _ = try await engine.create("v", sizeBytes: 1 << 20)
        let codes = Mutex<[ErrorCode?]>([])
        let listed = Mutex<[String]>([])
        let directory = bed.dataDirectory + "/journal"
        store.beforeCreate { key in
            guard key.text.contains("/manifest/") else { return }
            let volume = try #require(try await Journal.volumes(directory: directory, disk: SystemDisk.shared).first)
            let live = try await Journal.generations(directory: directory, volume: volume, disk: SystemDisk.shared)
            let id = String(try #require(live.first).token.description.prefix(12))
            let found = try await engine.journals().map(\.id)
            listed.withLock { $0 += found }
            for command in [
                { _ = try await engine.dropJournal(id, force: true) },
                { _ = try await engine.branch(fromJournal: id, to: "b") },
            ] as [@Sendable () async throws -> Void] {
                do {
                    try await command()
                    codes.withLock { $0.append(nil) }
                } catch { codes.withLock { $0.append(error.storageCode) } }
            }
        }
        let device = try await engine.attach("v")
        store.beforeCreate(nil)
        #expect(codes.withLock { $0 } == [.busy, .busy] && listed.withLock { $0 }.isEmpty)
        try await device.write(pattern(1, count: 4096), at: 0)
        await engine.abandon()
        let again = try await bed.open()
        #expect(try await again.attach("v").bytes(at: 0, count: 4096) == pattern(1, count: 4096))
        try await again.close()
    }

    /// It lost the volume to another, and does not know yet.
    @Test func whileAServerStillWritesToIt() async throws {
        let first = try await TestBed()
        // It notices by its next upload.
        first.settings.volume.uploadDelay = .seconds(3600)
        let second = try await TestBed(sharing: first)
        second.settings.takeOver = ["v"]
        let one = try await first.open(), two = try await second.open()
        _ = try await one.create("v", sizeBytes: 1 << 20)
        let stale = try await one.attach("v")
        try await stale.write(pattern(1, count: 4096), at: 0)
        _ = try await two.attach("v")
        #expect(try await one.journals().isEmpty)
        let id = String(try #require(try await first.generations.first).token.description.prefix(12))
        for name in [nil, "b"] {
            await #expect {
                if let name {
                    _ = try await one.branch(fromJournal: id, to: name)
                } else {
                    _ = try await one.dropJournal(id, force: true)
                }
            } throws: { ($0 as? StorageError)?.code == .busy }
        }
        try await stale.write(pattern(2, count: 4096), at: 4096)
        await #expect { try await stale.flush() } throws: { ($0 as? StorageError)?.code == .fenced }
        #expect(try await one.journals().map(\.writes) == [2])
        _ = try await one.branch(fromJournal: id, to: "b")
        _ = try await one.dropJournal(id, force: true)
        #expect(try await one.attach("b").bytes(at: 4096, count: 4096) == pattern(2, count: 4096))
        try await two.close()
        try await one.close()
        #expect(try await first.generations.isEmpty)
    }
}
