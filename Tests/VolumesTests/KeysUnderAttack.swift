import Cleaner
import Codec
import Journal
import Logging
import ObjectStorage
import Snapshots
import StoreCore
import Synchronization
import Testing

@testable import Volumes

private func key(_ number: UInt64) -> ObjectKey { NumberedObjects.key(prefix: "superblock", number: number) }

/// Someone who owns the bucket puts superblocks where they do not belong, and the commands that change keys are run.
@Suite struct NoGenuineSuperblockIsReplacedByACopy {
    private let old = Unlock.keyFile([UInt8](repeating: 7, count: 32))
    private let new = Unlock.keyFile([UInt8](repeating: 8, count: 32))
    private let third = Unlock.keyFile([UInt8](repeating: 9, count: 32))

    /// It would be wrapped anew as the newest, and the genuine one deleted: with it the current data key.
    @Test func aCopyUnderAHigherNumberIsNeitherOpenedNorBuiltUpon() async throws {
        let bed = try await TestBed()
        let log = SuperblockLog(store: bed.store, workers: .inline())
        let first = try await bed.store.get(key(1))
        _ = try await log.addKey(old)
        _ = try await bed.store.create(key(3), first)
        let attempts: [@Sendable () async throws -> Void] = [
            { [old, new] in _ = try await log.rewrap(from: old, to: new) }, { [old] in _ = try await log.addKey(old) },
            { [old] in _ = try await log.retire([DataKeyID(1)], old) }, { [old] in _ = try await log.open(old) },
        ]
        for attempt in attempts {
            await #expect { try await attempt() } throws: {
                $0.storageCode == .corrupt && "\($0)".contains(key(3).text) && "\($0)".contains(key(1).text)
            }
        }
        await #expect { try await bed.open() } throws: { $0.storageCode == .corrupt }
        #expect(try await log.objects.numbers() == [3, 2])
        try await bed.store.delete([key(3)])
        #expect(try await log.rewrap(from: old, to: new).number == 3)
        #expect(try await log.open(new).keys.keyIDs == [DataKeyID(1), DataKeyID(2)])
    }

    /// The store was put back, changed, and then the genuine superblock of before was put back under its own number.
    @Test func oneThatNamesALaterKeyIsNeverDeleted() async throws {
        let bed = try await TestBed()
        let log = SuperblockLog(store: bed.store, workers: .inline())
        let first = try await bed.store.get(key(1))
        _ = try await log.addKey(old)
        let genuine = try await bed.store.get(key(2))
        try await bed.store.delete([key(2)])
        _ = try await bed.store.create(key(1), first)
        _ = try await log.rewrap(from: old, to: new)
        _ = try await log.rewrap(from: new, to: third)
        _ = try await bed.store.create(key(2), genuine)
        await #expect { try await log.rewrap(from: third, to: old) } throws: {
            $0.storageCode == .corrupt && "\($0)".contains("data key 2")
        }
        #expect(try await log.objects.numbers() == [3, 2])
        let opened = try await log.open(third)
        await #expect { try await log.deleteOlder(than: opened) } throws: { $0.storageCode == .corrupt }
        #expect(try await bed.store.get(key(2)) == genuine)
    }

    /// Whoever has two stores with one passphrase has two superblocks that it opens.
    @Test func oneOfAnotherStoreIsNeverDeleted() async throws {
        let bed = try await TestBed()
        let other = try await TestBed()
        let elsewhere = SuperblockLog(store: other.store, workers: .inline())
        _ = try await elsewhere.addKey(old)
        _ = try await bed.store.create(key(2), try await other.store.get(key(2)))
        let log = SuperblockLog(store: bed.store, workers: .inline())
        await #expect { try await log.rewrap(from: old, to: new) } throws: { $0.storageCode == .corrupt }
        #expect(try await log.objects.numbers() == [2, 1])
    }

    /// Nothing proves a superblock before it was opened.
    @Test func onlyAnOpenedOneDeletesOthers() async throws {
        let bed = try await TestBed()
        let log = SuperblockLog(store: bed.store, workers: .inline())
        let stranger = try Superblock.create(unlock: third).0
        let forged = try stranger.addingKey(third).0
        _ = try await bed.store.create(key(2), forged.encode())
        await #expect { try await log.retire([DataKeyID(1)], old) } throws: { $0.storageCode == .denied }
        await #expect { try await log.retire([DataKeyID(9)], old) } throws: { $0.storageCode == .denied }
        #expect(try await log.objects.numbers() == [2, 1])
    }

    @Test func aStoreThatWasPutBackGetsNoNewPassphrase() async throws {
        let bed = try await TestBed()
        let first = try await bed.store.get(key(1))
        let engine = try await bed.open()
        _ = try await engine.rotateKeys(rewrite: false) { _ in }
        try await engine.close()
        try await bed.store.delete([key(2)])
        _ = try await bed.store.create(key(1), first)
        await #expect {
            try await Engine.changeUnlock(of: bed.store, from: old, to: new, dataDirectory: bed.dataDirectory)
        } throws: { $0.storageCode == .corrupt && "\($0)".contains("rolled back") }
        #expect(try await bed.store.get(key(1)) == first)
    }

    /// A number is remembered only when a genuine superblock has it.
    @Test func aNameAloneIsNotRemembered() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        _ = try await bed.store.create(key(1000), [1, 2, 3])
        await #expect { _ = try await engine.collectGarbage(dryRun: false) { _ in } } throws: {
            $0.storageCode == .corrupt
        }
        try await engine.close()
        try await bed.store.delete([key(1000)])
        let again = try await bed.open()
        _ = try await again.collectGarbage(dryRun: false) { _ in }
        try await again.close()
    }
}

/// What headers say is plain, and nothing that is needed is lost by what they say wrongly.
@Suite struct NoKeyIsRetiredOnAHeadersWord {
    private static let size = 1 << 20

    private func write(_ engine: Engine, _ seed: UInt64) async throws {
        let device = try await engine.attach("a")
        try await device.write(pattern(seed, count: Self.size), at: 0)
        try await device.flush()
        await engine.detach(device)
    }
    private func read(_ engine: Engine, _ name: String) async throws -> [UInt8] {
        let device = try await engine.attach(name)
        let bytes = try await device.bytes(at: 0, count: Self.size)
        await engine.detach(device)
        return bytes
    }

    /// A damaged segment is not moved; a copy from the bucket's old versions brings it back, while its key is there.
    @Test func aDamagedSegmentKeepsItsKey() async throws {
        let memory = MemoryStore()
        let bed = try await TestBed(store: memory)
        let engine = try await bed.open()
        _ = try await engine.create("a", sizeBytes: 8 << 20)
        try await write(engine, 1)
        try await engine.close()
        let segments = memory.snapshotOfObjects().filter { $0.key.text.contains("/log/") && $0.value.count > 1 << 16 }
        #expect(!segments.isEmpty)
        for (key, bytes) in segments {
            var damaged = bytes
            damaged[8] = 2
            for position in stride(from: 64, to: bytes.count - 1024, by: 512) { damaged[position] ^= 1 }
            memory.replace(key, damaged)
        }
        let command = try await bed.open()
        let report = try await command.rotateKeys(rewrite: true) { _ in }.rewrite
        #expect(report?.retired == [], "\(String(describing: report))")
        #expect(report?.reasons.contains { $0.contains("/log/") && $0.contains("data key 1") } ?? false)
        try await command.close()
        for (key, bytes) in segments { memory.replace(key, bytes) }
        let mended = try await TestBed(sharing: bed).open()
        #expect(try await read(mended, "a") == pattern(1, count: Self.size))
        #expect(try await mended.rewriteKeys { _ in }.retired == [1])
        #expect(try await read(mended, "a") == pattern(1, count: Self.size))
        try await mended.close()
    }

    /// A store that says of versions, only where their headers alone are read, that they are under the new key. That of
    /// an empty snapshot names no run which would tell otherwise.
    @Test func aVersionKeepsItsKeyWhateverItsHeaderSays() async throws {
        let memory = MemoryStore()
        let bed = try await TestBed(store: memory)
        let engine = try await bed.open()
        for name in ["a", "empty"] { _ = try await engine.create(name, sizeBytes: 8 << 20) }
        try await write(engine, 1)
        for name in ["a", "empty"] { _ = try await engine.snapshot(name, name: "s") }
        try await write(engine, 2)
        _ = try await engine.collectGarbage(dryRun: false) { _ in }
        try await engine.close()
        let versions = memory.keys.filter { $0.text.contains("/version/") }
        let lying = FaultStore(bed.store) { request in
            guard request.kind == .rangedGet, request.range == 0..<UInt64(ObjectHeader.byteCount) else { return nil }
            return versions.contains(where: request.keys.contains) ? .corrupt(atByte: 8, mask: 3) : nil
        }
        let liar = try await TestBed(sharing: bed, through: lying).open()
        let report = try await liar.rotateKeys(rewrite: true) { _ in }.rewrite
        #expect(report?.retired == [], "\(String(describing: report))")
        try await liar.close()
        let fresh = try await TestBed(sharing: bed).open()
        #expect(try await fresh.rewriteKeys { _ in }.retired == [1])
        #expect(try await read(fresh, "a") == pattern(2, count: Self.size))
        #expect(try await read(fresh, "a@s") == pattern(1, count: Self.size))
        #expect(try await read(fresh, "empty@s") == [UInt8](repeating: 0, count: Self.size))
        #expect(try await fresh.verify(nil, deep: true) { _ in }.isSound)
        try await fresh.close()
    }
}

@Suite struct RewritingEnds {
    /// Each pass of the cleaner finds segments that clients have made mostly dead since the last one.
    @Test func whileClientsGoOn() async throws {
        let store = HookStore(MemoryStore())
        let bed = try await TestBed(store: store)
        let engine = try await bed.open()
        _ = try await engine.create("a", sizeBytes: 8 << 20)
        let device = try await engine.attach("a")
        try await device.write(pattern(1, count: 1 << 20), at: 0)
        try await device.flush()
        let passes = Mutex<UInt64>(0)
        store.beforeCreate { key in
            guard key.text.hasPrefix("cleaner/") else { return }
            let pass = passes.withLock { passes in
                passes += 1
                return passes
            }
            guard pass < 20 else { return }
            try await device.write(pattern(pass, count: 1 << 20), at: 0)
            try await device.flush()
            try await device.write(pattern(100 + pass, count: 3 << 18), at: 0)
            try await device.flush()
        }
        let report = try await engine.rotateKeys(rewrite: true) { _ in }
        #expect(report.rewrite?.reasons.count == 1, "\(report)")
        let count = passes.withLock { $0 }
        #expect(count < 8, "the cleaner claimed \(count) generations")
        store.beforeCreate(nil)
        await engine.detach(device)
        try await engine.close()
    }
}

@Suite struct TheLastManifestIsRemembered {
    /// The manifest that released a volume, taken away: the one before it looks as if the volume were still open.
    @Test func ofAVolumeThatWasClosed() async throws {
        let bed = try await TestBed()
        let engine = try await bed.open()
        let id = try await engine.create("a", sizeBytes: 8 << 20).id
        let device = try await engine.attach("a")
        try await device.write(pattern(1, count: 1 << 16), at: 0)
        await engine.detach(device)
        try await engine.close()
        let manifests = NumberedObjects(prefix: "volumes/\(id)/manifest", store: bed.store)
        let last = try #require(try await manifests.newestNumber())
        try await bed.store.delete([manifests.key(last)])
        let again = try await bed.open()
        await #expect { _ = try await again.attach("a") } throws: {
            $0.storageCode == .corrupt && "\($0)".contains("rolled back")
        }
        try await again.close()
    }
}
