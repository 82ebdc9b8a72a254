import Codec
import ObjectStorage
import StoreCore
import Synchronization
import Testing

@testable import Snapshots

@Suite struct CatalogCommits {
    /// What design section 6 allows a snapshot: create and list, beside the uploads.
    @Test func aCommitIsOneCreationAndOneList() async throws {
        let world = World()
        let trace = Trace(world.memory)
        let log = world.catalog(through: trace.store)
        let volume = world.record("pg")
        try await log.create(volume)
        trace.reset()
        try await log.commit { try $0.addSnapshot(world.snapshot("a", of: volume.id)) }
        #expect(trace.kinds == [.create, .list])
        world.time.advance(.seconds(60))
        trace.reset()
        _ = try await log.newest()
        #expect(trace.kinds == [.list])
        trace.reset()
        try await log.commit { try $0.addSnapshot(world.snapshot("b", of: volume.id)) }
        #expect(trace.kinds == [.create, .list])
        trace.reset()
        _ = try await log.newest()
        #expect(trace.kinds == [.list])
    }

    @Test func concurrentCommitsShareANumberAndFailApart() async throws {
        let world = World()
        let gate = Gate()
        let faults = FaultStore(world.memory)
        let log = world.catalog(through: faults)
        try await log.create(world.record("first"))
        let blocked = Counter(), taken = Counter()
        faults.arm { request in
            if request.kind == .create {
                blocked.add()
                await gate.wait()
            }
            return nil
        }
        await withTaskGroup(of: Void.self) { group in
            for index in 0..<40 {
                // Each name twice: one of the two is refused, and takes nobody with it.
                let record = world.record("v\(index / 2)")
                group.addTask {
                    do {
                        try await log.commit { try $0.createVolume(record, bornAt: 1) }
                    } catch  where error.storageCode == .alreadyExists {
                        taken.add()
                    } catch {
                        Issue.record(error)
                    }
                }
                // The first is on its way when the others come.
                while blocked.value == 0 { await Task.yield() }
            }
            while log.queue.withLock({ $0.members.count }) < 39 { await Task.yield() }
            gate.open()
        }
        let state = try await world.catalog().newest()
        #expect(taken.value == 20 && state.volumeCount == 21)
        #expect(state.number == 3, "one for the first, one for all that came meanwhile")
    }

    @Test(arguments: CommitsHappenOnce.Kind.allCases, 0..<4)
    func exactlyOnceWhicheverRequestFails(_ kind: CommitsHappenOnce.Kind, _ index: Int) async throws {
        for rivals in 0..<3 {
            let world = World()
            let faults = FaultStore(world.memory)
            let log = world.catalog(through: faults)
            try await log.create(world.record("first"))
            let rival = world.catalog()
            let count = Counter()
            faults.arm { request in
                guard count.add() - 1 == index else { return nil }
                for number in 0..<rivals { try await rival.create(world.record("rival\(number)")) }
                return CommitsHappenOnce.fault(kind)
            }
            // A second effect would find the name taken.
            let record = world.record("mine")
            try await log.commit { try $0.createVolume(record, bornAt: 1) }
            await faults.releaseLate()
            let state = try await world.catalog().newest()
            #expect(state.volumeCount == 2 + (count.value > index ? rivals : 0))
            #expect(state.volume(named: "mine")?.id == record.id)
        }
    }

    @Test func manyServersThroughABadStore() async throws {
        for seed in UInt64(1)...3 {
            let world = World()
            let open = Counter()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for server in UInt64(0)..<4 {
                    let rates = FaultRates(failBefore: 0.08, failAfter: 0.08)
                    let faults = FaultStore(world.memory, seed: seed << 8 | server, rates: rates)
                    let log = world.catalog(through: Yielding(faults))
                    for client in 0..<20 {
                        let record = world.record("v-\(server)-\(client)")
                        group.addTask {
                            do {
                                try await log.commit { try $0.createVolume(record, bornAt: .max) }
                            } catch  where error.storageCode == .unavailable {
                                open.add()
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            let state = try await world.catalog().newest()
            #expect(state.volumeCount <= 80 && state.volumeCount + open.value >= 80, "seed \(seed)")
        }
    }

    /// "No" is the answer of the newest catalog, not of one that this process remembers.
    @Test func aRefusalRestsOnTheNewestState() async throws {
        let world = World()
        let mine = world.catalog(), other = world.catalog()
        let volume = world.record("pg")
        try await mine.create(volume)
        let snapshot = world.snapshot("monday", of: volume.id)
        try await other.commit { try $0.addSnapshot(snapshot) }
        try await mine.commit { try $0.removeSnapshot(snapshot.id) }
        try await other.commit { try $0.hold(.volume(volume.id), tag: "x") }
        try await mine.commit { try $0.release(.volume(volume.id), tag: "x") }
        #expect(try await world.catalog().newest().volume(volume.id)?.holds == [])
    }

    @Test func whatChangesNothingWritesNothing() async throws {
        let world = World()
        let log = world.catalog()
        let volume = world.record("pg")
        try await log.create(volume)
        try await log.commit { try $0.release(.volume(volume.id), tag: "never") }
        #expect(try await log.newest().number == 1)
        try await log.commit { $0.announceFloors([:]) }
        #expect(try await log.newest().number == 2)
    }

    @Test func aStalledServerThatWinsADeletedNumberStartsAgain() async throws {
        let world = World()
        let faults = FaultStore(world.memory)
        let log = world.catalog(through: faults)
        try await log.create(world.record("first"))
        let rival = world.catalog()
        let creations = Counter()
        faults.arm { request in
            guard request.kind == .create, creations.add() == 1 else { return nil }
            for number in 0..<10 { try await rival.create(world.record("rival\(number)")) }
            try await world.memory.delete((1...5).map { CatalogVersion.key($0) })
            return nil
        }
        let record = world.record("mine")
        try await log.commit { try $0.createVolume(record, bornAt: 1) }
        let state = try await world.catalog().newest()
        #expect(state.number == 12 && state.volumeCount == 12)
        #expect(state.volume(named: "mine") == record)
    }
}

/// The kinds of the requests that a store saw.
final class Trace: Sendable {
    let store: FaultStore
    private let seen: Log
    var kinds: [RequestKind] { seen.kinds }
    var createdBytes: Int { seen.createdBytes }
    func reset() { seen.reset() }

    init(_ base: any ObjectStore) {
        let seen = Log()
        self.seen = seen
        store = FaultStore(base) { request in
            seen.note(request)
            return nil
        }
    }
    private final class Log: Sendable {
        private let requests = Synchronized<[StoreRequest]>([])
        var kinds: [RequestKind] { requests.value.map(\.kind) }
        var createdBytes: Int { requests.value.reduce(0) { $0 + $1.byteCount } }
        func note(_ request: StoreRequest) { requests.change { $0.append(request) } }
        func reset() { requests.change { $0 = [] } }
    }
}
