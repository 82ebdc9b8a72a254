import BlockMap
import Codec
import ObjectStorage
import SegmentLog
import Snapshots
import StoreCore
import Synchronization
import Testing

@testable import Cleaner

/// gc and writers go on while a store is verified: what they move or give up is no damage, and nothing is passed over.
@Suite(.timeLimit(.minutes(10))) struct VerifyBesideGC {
    /// Everything is moved, once or twice, behind the LIST of the relocation records and before the first segment is
    /// looked for; if deep, when all were found and the first is about to be read. That is followed, without beginning
    /// anew: a deep verification takes hours.
    @Test(arguments: [false, true], [false, true]) func whatMovesIsFollowed(deep: Bool, ofSnapshot: Bool) async throws {
        for passes in 1...2 {
            let world = try await movableWorld()
            let meanwhile = Meanwhile {
                $0.asks(deep ? .get : .head, for: "segment")
            } happens: {
                for _ in 0..<passes { try await world.gc() }
            }
            let reference = ofSnapshot ? VolumeReference(volume: "a", snapshot: "s") : nil
            let report = try await verifier(world, through: meanwhile.store(world.memory))
                .verify(reference, deep: deep)
            #expect(meanwhile.hasHappened && world.count("segment") == 0)
            #expect(report.isSound, "\(report.damaged)")
            let packed = world.objects(of: "packed-segment")
            #expect(packed.count == 1 && packed.isSubset(of: meanwhile.keys(deep ? .get : .head)))
            #expect(meanwhile.lists(of: RelocationRecord.prefix) == 1)
        }
    }

    /// As above, and where it was moved to is lost.
    @Test(arguments: [false, true]) func whatIsLostOnTheWayIsNamed(deep: Bool) async throws {
        let world = try await movableWorld()
        let meanwhile = Meanwhile {
            $0.asks(deep ? .get : .head, for: "segment")
        } happens: {
            try await world.gc()
            for key in world.objects(of: "packed-segment") { world.memory.remove(key) }
        }
        let report = try await verifier(world, through: meanwhile.store(world.memory)).verify(deep: deep)
        #expect(meanwhile.hasHappened && report.damaged.count == 1)
        #expect(report.damaged.first?.object.hasPrefix("packed/") == true)
        #expect(Set(report.damaged.first?.affected.map(\.name) ?? []) == ["a", "a@s", "b"])
    }

    /// A segment with damage that nobody needs is emptied while it is looked for whom the damage concerns.
    @Test func damageThatWentConcernsNobody() async throws {
        let world = World()
        let volume = try await TestVolume.make(world, "a", blocks: 64)
        try await volume.write(0..<32, recordBlocks: 4)
        try await volume.checkpoint()
        try await volume.write(0..<24, recordBlocks: 4)
        try await volume.checkpoint()
        let id = SegmentID.log(volume: volume.id, epoch: Epoch(1), sequence: SegmentSequence(1))
        // The third record.
        world.memory.corrupt(id.key, at: 32 + 2 * (4 * 4096 + 16) + 100)
        let before = try await verifier(world, through: world.memory).verify(deep: true)
        #expect(before.damaged.map(\.object) == [id.key.text])
        let meanwhile = Meanwhile {
            $0.asks(.rangedGet, for: "segment")
        } happens: {
            _ = try await world.gc()
        }
        let report = try await verifier(world, through: meanwhile.store(world.memory)).verify(deep: true)
        #expect(meanwhile.hasHappened && !world.memory.keys.contains(id.key))
        #expect(report.isSound, "\(report.damaged)")
    }

    /// A map that is given up behind the HEADs, before those that name moved segments are looked for, or before its
    /// extents are read (`late`).
    @Test(arguments: [false, true]) func mapsThatAreGivenUpAreReplaced(late: Bool) async throws {
        let world = try await movableWorld()
        try await world.gc()
        let volume = try #require(try await world.catalog.newest().volume(named: "b"))
        let hasBegun = Mutex(false)
        let meanwhile = Meanwhile { request in
            if !late, request.kind == .head { hasBegun.withLock { $0 = true } }
            return hasBegun.withLock { $0 } && request.asks(.get, for: "run")
        } happens: {
            let manifests = ManifestLog(volume: volume.id, store: world.memory, keys: world.keys, time: world.time)
            let epoch = try #require(try await manifests.newest()).epoch
            try await manifests.commit(as: epoch) { $0.state.map = .empty }
            try await world.gc()
        }
        // Without memory for pages: each look at a map asks the store.
        let store = meanwhile.store(world.memory)
        let maps = MapReader(store: store, keys: world.keys, pages: PageCache(bytes: 0))
        let report = try await verifier(world, through: store, maps: maps).verify { phase, _, _ in
            if late, phase == "look for what is affected" { hasBegun.withLock { $0 = true } }
        }
        #expect(meanwhile.hasHappened && world.count("run") == 1)
        #expect(report.isSound, "\(report.damaged)")
    }

    /// The oldest numbers of the catalog go between their LIST and their GETs. A server verifies with the catalog that
    /// its own gc commits to (`shared`).
    @Test(arguments: [false, true]) func numbersOfTheCatalogThatWentAreNoLoss(shared: Bool) async throws {
        let world = try await movableWorld()
        for _ in 0..<CatalogEditor.catalogNumbersKept + 6 { try await world.catalog.commit { $0.renewPages() } }
        let step = Mutex(0)
        let ours = Mutex<CatalogLog?>(nil)
        let meanwhile = Meanwhile { request in
            step.withLock { step in
                // That for the newest number asks for one key only.
                if request.kind == .list, request.prefix == "catalog/", request.limit != 1, step == 0 { step = 1 }
                guard step == 1, request.asks(.get, for: "catalog") else { return false }
                step = 2
                return true
            }
        } happens: {
            try await world.gc()
            if shared { _ = try await ours.withLock { $0 }?.newest() }
        }
        let store = meanwhile.store(world.memory)
        let catalog = CatalogLog(store: store, keys: world.keys, time: world.time)
        ours.withLock { $0 = catalog }
        let report = try await verifier(world, through: store, catalog: catalog).verify()
        #expect(meanwhile.hasHappened)
        #expect(!world.memory.keys.contains(NumberedObjects.key(prefix: "catalog", number: 1)))
        #expect(report.isSound, "\(report.damaged)")
        try await expectSame(report, world)
    }

    /// A volume moves on, and its manifests go, between their LIST and their GETs: it is not passed over.
    @Test func aVolumeWhoseManifestWentIsReadNevertheless() async throws {
        let world = try await movableWorld()
        let volume = try #require(try await world.catalog.newest().volume(named: "a"))
        let prefix = Manifest.prefix(of: volume.id)
        let manifests = ManifestLog(volume: volume.id, store: world.memory, keys: world.keys, time: world.time)
        let meanwhile = Meanwhile { request in
            request.asks(.get, for: "manifest") && request.key?.text.hasPrefix(prefix) == true
        } happens: {
            let epoch = try #require(try await manifests.newest()).epoch
            try await manifests.commit(as: epoch) { _ in }
            try await world.gc()
        }
        let report = try await verifier(world, through: meanwhile.store(world.memory)).verify()
        #expect(meanwhile.hasHappened && world.count("manifest") == 2)
        #expect(report.isSound, "\(report.damaged)")
        let newest = try #require(try await manifests.newest())
        #expect(meanwhile.keys(.get).contains(newest.key))
        try await expectSame(report, world)
    }

    /// Keys are rewritten: a snapshot rests on a copy of its version, and a gc that announced its floors earlier has
    /// taken the original.
    @Test func aVersionThatWasReplacedIsLookedForAnew() async throws {
        let world = try await movableWorld()
        let state = try await world.catalog.newest()
        let volume = try #require(state.volume(named: "a"))
        let snapshot = try #require(state.snapshot(named: "s", of: volume.id))
        let meanwhile = Meanwhile {
            $0.asks(.get, for: "version")
        } happens: {
            let version = try await PinnedVersion.load(snapshot.version, from: world.memory, keys: world.keys)
            let (copy, bytes) = try version.seal(with: world.keys)
            _ = try await world.memory.create(copy.key, bytes)
            let seen = state.birthFloor
            try await world.catalog.commit {
                try $0.replaceVersion(of: snapshot.id, snapshot.version, with: copy, seen: seen)
            }
            world.memory.remove(snapshot.version.key)
        }
        let report = try await verifier(world, through: meanwhile.store(world.memory))
            .verify(VolumeReference(volume: "a", snapshot: "s"))
        #expect(meanwhile.hasHappened && !world.memory.keys.contains(snapshot.version.key))
        #expect(report.isSound, "\(report.damaged)")
        #expect(world.objects(of: "version").isSubset(of: meanwhile.keys(.get)))
    }
}

extension VerifyBesideGC {
    private func verifier(
        _ world: World, through store: any ObjectStore, catalog: CatalogLog? = nil, maps: MapReader? = nil
    ) -> StoreVerifier {
        StoreVerifier(
            store: store, keys: world.keys,
            catalog: catalog ?? CatalogLog(store: store, keys: world.keys, time: world.time),
            maps: maps ?? world.maps(store), time: world.time)
    }

    /// As much was looked at as when nothing goes on.
    private func expectSame(_ report: VerifyReport, _ world: World) async throws {
        let after = try await verifier(world, through: world.memory).verify()
        #expect(after.isSound && report.objectsChecked == after.objectsChecked)
        #expect(report.bytesChecked == after.bytesChecked)
    }

    /// Volumes `a`, with a snapshot, and `b`. Each gc moves all of their segments into one.
    private func movableWorld() async throws -> World {
        let world = World()
        world.options.policy.smallBytes = 1 << 20
        world.options.policy.smallCountMin = 1
        for name in ["a", "b"] {
            let volume = try await TestVolume.make(world, name, blocks: 64)
            for block in UInt64(0)..<4 { try await volume.write([block]) }
            try await volume.checkpoint()
            if name == "a" { try await volume.snapshot("s") }
        }
        return world
    }
}

extension World {
    fileprivate func objects(of kind: String) -> Set<ObjectKey> {
        Set(memory.keys.filter { ObjectName($0).kind == kind })
    }
}

extension StoreRequest {
    /// - Parameter object: its kind, by its name.
    fileprivate func asks(_ kind: RequestKind, for object: String) -> Bool {
        guard self.kind == kind, let key else { return false }
        return ObjectName(key).kind == object
    }
}

/// Something that happens once, while a store is being read: the requests before which it is due wait for its end.
private final class Meanwhile: Sendable {
    private struct State {
        var task: Task<Void, any Error>?
        var asked: [StoreRequest] = []
    }
    private let state = Mutex(State())
    private let isDue: @Sendable (StoreRequest) -> Bool
    private let event: @Sendable () async throws -> Void
    var hasHappened: Bool { state.withLock { $0.task != nil } }

    init(
        before isDue: @escaping @Sendable (StoreRequest) -> Bool,
        happens event: @escaping @Sendable () async throws -> Void
    ) {
        self.isDue = isDue
        self.event = event
    }

    /// The store as the reader sees it.
    func store(_ base: any ObjectStore) -> FaultStore {
        FaultStore(base) { request in
            try await self.pass(request)
            return nil
        }
    }
    private func pass(_ request: StoreRequest) async throws {
        let isDue = isDue(request)
        let event = event
        let task = state.withLock { state -> Task<Void, any Error>? in
            state.asked.append(request)
            guard isDue else { return nil }
            if state.task == nil { state.task = Task { try await event() } }
            return state.task
        }
        try await task?.value
    }

    // What the reader asked for.
    func keys(_ kind: RequestKind) -> Set<ObjectKey> {
        Set(state.withLock { $0.asked }.filter { $0.kind == kind }.flatMap(\.keys))
    }
    func lists(of prefix: String) -> Int {
        state.withLock { $0.asked }.count { $0.kind == .list && $0.prefix == prefix }
    }
}
