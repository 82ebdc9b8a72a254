import Codec
import ObjectStorage
import SegmentLog
import Snapshots
import StoreCore
import Synchronization
import Testing

@testable import Cleaner

/// Passes beside passes, writers and people: what another did meanwhile is no damage, and what it may yet do is kept
/// in mind.
@Suite(.timeLimit(.minutes(10))) struct PassesMayMeet {
    /// Two claim one after the other, and neither has published yet. A third's LIST shows the later claim alone: what
    /// the earlier one packed may be named yet.
    @Test func aClaimThatAListPassedByIsStillOpen() async throws {
        let (world, volume) = try await worldWithVictims()
        let gates = [Gate(), Gate()]
        let passes = Mutex<[Task<Void, any Error>]>([])
        let torn = TornList(world.memory, prefix: CleanerGeneration.prefix + "/") {
            guard !gates[0].isReached else { return false }
            for gate in gates {
                let held = FaultStore(world.memory) { request in
                    if request.kind == .create, request.key.flatMap(RelocationRecord.name(of:)) != nil {
                        try await gate.pass()
                    }
                    return nil
                }
                let pass = Task { _ = try await world.collector(through: held).collect() }
                passes.withLock { $0.append(pass) }
                try await gate.waitUntilReached()
            }
            return true
        }
        let sweeper = world.copyOfSettings()
        sweeper.options.repacks = false
        _ = try await sweeper.collector(through: torn).collect()
        #expect(gates[0].isReached && gates[1].isReached)
        for (gate, pass) in zip(gates, passes.withLock { $0 }) {
            gate.open()
            do { try await pass.value } catch { #expect(error.storageCode == .busy, "\(error)") }
        }
        try await world.check("when all have ended")
        try await volume.compact()
        try await world.check("in the new places")
        try await world.gc()
        try await world.gc()
        try await world.check("later")
        try await world.checkNothingElseIsLeft("later")
    }

    /// A claim that was under way while its key was retired lands below newer ones. Nobody knows what it may publish:
    /// all that it may have packed stays.
    @Test func aClaimUnderARetiredKeyStopsNobody() async throws {
        let (world, volume) = try await worldWithVictims()
        try await world.gc()
        try await Self.makeVictims(of: volume)
        try await world.gc()
        try await world.gc()
        let numbers = try await GenerationLog(store: world.store, keys: world.keys).objects.numbers()
        #expect(numbers == [2])
        let packed = SegmentID.packed(generation: 1, hash: .sha256([1])).key
        world.memory.replace(packed, [1, 2, 3])
        try world.putClaimUnderAnotherKey(1)
        try await world.gc()
        #expect(world.memory.keys.contains(packed) && world.memory.keys.contains(CleanerGeneration.key(1)))
        try await world.check("beside the late claim")
        // The newest is another matter: its cleaner may be at work.
        try world.putClaimUnderAnotherKey(3)
        await #expect { try await world.gc() } throws: { $0.storageCode == .denied }
    }

    /// A LIST may show the second of two manifests that came while it ran, and not the first.
    @Test func manifestsThatCameDuringAListAreNotMissed() async throws {
        let (world, volume) = try await worldWithVictims()
        let manifests = volume.manifests, epoch = volume.manifest.epoch
        let lists = Mutex(0)
        let torn = TornList(world.memory, prefix: Manifest.prefix(of: volume.id) + "/") {
            lists.withLock { $0 += 1 }
            for _ in 0..<2 { try await manifests.commit(as: epoch) { _ in } }
            return true
        }
        _ = try await world.collector(through: torn).collect()
        #expect(lists.withLock { $0 } > 0)
        try await world.check("after the pass")
    }

    /// Somebody deletes a snapshot, and a pass that knows of it takes its version from one that does not.
    @Test func aSnapshotThatWasDeletedMeanwhileIsNotMissed() async throws {
        let (world, volume) = try await worldWithVictims()
        let gone = try await volume.snapshot("gone")
        let once = Once()
        let store = FaultStore(world.memory) { request in
            guard request.keys == [gone.version.key], once.take() else { return nil }
            try await world.catalog.commit { try $0.removeSnapshot(gone.id) }
            _ = world.memory.remove(gone.version.key)
            return nil
        }
        await #expect { _ = try await world.collector(through: store).collect() } throws: { $0.storageCode == .busy }
        world.expected["a@gone"] = nil
        try await world.gc()
        try await world.check("after the snapshot")
        // One that is named still is lost.
        let lost = try await volume.snapshot("lost")
        _ = world.memory.remove(lost.version.key)
        await #expect { try await world.gc() } throws: { $0.storageCode == .corrupt }
    }

    /// A deleter went away, and two passes find that: the one that comes second says so.
    @Test(arguments: [false, true]) func aDeletionThatTwoFinishIsFinished(hasSegments: Bool) async throws {
        let world = World()
        world.options.deletionGrace = .zero
        // Where it has no segments, nothing is missed: only the claim is lost.
        let volume = try await TestVolume.make(world, "a")
        if hasSegments { try await volume.write(0..<4) }
        try await volume.delete(leavingTombstone: false)
        let once = Once()
        let store = FaultStore(world.memory) { request in
            guard request.prefix?.contains("/log/") ?? false, once.take() else { return nil }
            try await world.copyOfSettings().gc()
            return nil
        }
        await #expect { _ = try await world.collector(through: store).collect() } throws: { $0.storageCode == .busy }
        #expect(!once.take())
        try await world.gc()
        try await world.checkNothingElseIsLeft("after both")
    }

    /// Of a volume `a`, with a segment that is mostly dead.
    private func worldWithVictims() async throws -> (World, TestVolume) {
        let world = World()
        let volume = try await TestVolume.make(world, "a", blocks: 64)
        try await Self.makeVictims(of: volume)
        return (world, volume)
    }
    private static func makeVictims(of volume: TestVolume) async throws {
        for end in [UInt64(64), 56] {
            try await volume.write(0..<end, recordBlocks: 1)
            try await volume.checkpoint()
        }
    }
}

extension World {
    fileprivate func putClaimUnderAnotherKey(_ number: UInt64) throws {
        var bytes = try CleanerGeneration(number: number, time: time.now(), victims: []).sealed(with: keys)
        // The data key's number.
        bytes[8] = 9
        memory.replace(CleanerGeneration.key(number), bytes)
    }
}

/// True the first time.
private final class Once: Sendable {
    private let isTaken = Mutex(false)
    func take() -> Bool {
        isTaken.withLock { taken in
            defer { taken = true }
            return !taken
        }
    }
}

/// Holds who comes by until it is opened.
private final class Gate: Sendable {
    private let state = Mutex((isReached: false, isOpen: false))
    var isReached: Bool { state.withLock { $0.isReached } }

    func pass() async throws {
        state.withLock { $0.isReached = true }
        while !state.withLock({ $0.isOpen }) { try await Task.sleep(for: .milliseconds(1)) }
    }
    func waitUntilReached() async throws {
        while !isReached { try await Task.sleep(for: .milliseconds(1)) }
    }
    func open() { state.withLock { $0.isOpen = true } }
}

/// A store whose LISTs of one folder of numbers take their time: where something came meanwhile, the second newest is
/// not shown.
private struct TornList: ObjectStore {
    private let base: any ObjectStore
    private let prefix: String
    /// What happens meanwhile; false where nothing did.
    private let meanwhile: @Sendable () async throws -> Bool
    var location: String { base.location }

    init(_ base: any ObjectStore, prefix: String, meanwhile: @escaping @Sendable () async throws -> Bool) {
        self.base = base
        self.prefix = prefix
        self.meanwhile = meanwhile
    }
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        let isTorn = prefix == self.prefix ? try await meanwhile() : false
        var page = try await base.list(prefix: prefix, after: after, limit: limit)
        if isTorn, page.objects.count > 1 { page.objects.remove(at: 1) }
        return page
    }
    func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] { try await base.get(key, range: range) }
    func head(_ key: ObjectKey) async throws -> ObjectInfo? { try await base.head(key) }
    func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        try await base.create(key, bytes, sha256: sha256)
    }
    func delete(_ keys: [ObjectKey]) async throws { try await base.delete(keys) }
}
