import Codec
import ObjectStorage
import Snapshots
import StoreCore
import Testing

/// A commit adds one block to the volume's size: what happens twice, or not at all, shows.
@Suite struct CommitsHappenOnce {
    enum Kind: CaseIterable, Sendable { case before, after, late }
    static func fault(_ kind: Kind) -> Fault {
        switch kind {
        case .before: .failBefore()
        case .after: .failAfter()
        case .late: .failThenHappen()
        }
    }
    func grow(_ manifest: inout Manifest) { manifest.state.sizeBytes += UInt64(blockBytes) }
    func blocks(_ manifest: Manifest) -> UInt64 { (manifest.state.sizeBytes - 1 << 20) / UInt64(blockBytes) }

    @Test(arguments: Kind.allCases, 0..<6)
    func whicheverRequestFails(_ kind: Kind, _ index: Int) async throws {
        for rivals in 0..<3 {
            for cold in [false, true] {
                let world = World()
                let epoch = try await world.claimed().epoch
                let faults = FaultStore(world.memory)
                let log = world.manifests(through: faults)
                if !cold { _ = try await log.newest() }
                let rival = world.manifests()
                let count = Counter()
                faults.arm { request in
                    let number = count.add() - 1
                    guard number == index else { return nil }
                    for _ in 0..<rivals { _ = try await rival.commit(as: epoch, grow) }
                    return Self.fault(kind)
                }
                if cold && index < 2 {
                    try await retried { try await log.commit(as: epoch, grow) }
                } else {
                    try await log.commit(as: epoch, grow)
                }
                await faults.releaseLate()
                let expected = UInt64(1 + (count.value > index ? rivals : 0))
                let newest = try await world.newestManifest()
                #expect(blocks(newest) == expected, "rivals \(rivals), cold \(cold)")
                #expect(newest.number == 2 + expected)
            }
        }
    }
    /// A failed look before anything was sent is the caller's to repeat.
    @discardableResult
    private func retried(_ body: () async throws -> Manifest) async throws -> Manifest {
        do { return try await body() } catch  where error.storageCode == .unavailable { return try await body() }
    }

    /// The answer to my creation is lost, and a rival builds on it before I look.
    @Test func aRivalThatBuiltOnMyCommitIsNoReasonToRepeatIt() async throws {
        let world = World()
        let epoch = try await world.claimed().epoch
        let faults = FaultStore(world.memory)
        let log = world.manifests(through: faults)
        _ = try await log.newest()
        let rival = world.manifests()
        let creations = Counter(), lists = Counter()
        faults.arm { request in
            if request.kind == .create, creations.add() == 1 { return .failAfter() }
            if request.kind == .list, lists.add() == 1 {
                for _ in 0..<5 { _ = try await rival.commit(as: epoch, grow) }
                // gc passes as well: my number is gone.
                try await world.memory.delete((1...6).map { Manifest.key(of: world.volume, number: $0) })
            }
            return nil
        }
        _ = try await log.commit(as: epoch, grow)
        #expect(blocks(try await world.newestManifest()) == 6)
    }

    /// Design, section 4: a deleted slot can be won by a stalled writer.
    @Test(arguments: [1, 5, 63])
    func aStalledWriterThatWinsADeletedNumberStartsAgain(_ rivalCommits: Int) async throws {
        let world = World()
        let epoch = try await world.claimed().epoch
        let faults = FaultStore(world.memory)
        let log = world.manifests(through: faults)
        let base = try #require(try await log.newest())
        let rival = world.manifests()
        let creations = Counter()
        faults.arm { request in
            guard request.kind == .create, creations.add() == 1 else { return nil }
            for _ in 0..<rivalCommits + 1 { _ = try await rival.commit(as: epoch, grow) }
            try await world.memory.delete([Manifest.key(of: world.volume, number: base.number + 1)])
            return nil
        }
        let made = try await log.commit(as: epoch, grow)
        let newest = try await world.newestManifest()
        #expect(creations.value == 2, "it won the old number, and created the next one")
        #expect(made.number == newest.number && blocks(newest) == UInt64(rivalCommits + 2))
    }

    /// Beyond what a version remembers, the truth is "unknown", and never a guess.
    @Test func aWriterThatStalledTooLongSaysThatItDoesNotKnow() async throws {
        let world = World()
        let epoch = try await world.claimed().epoch
        let faults = FaultStore(world.memory)
        let log = world.manifests(through: faults)
        let base = try #require(try await log.newest())
        let rival = world.manifests()
        let creations = Counter()
        faults.arm { request in
            guard request.kind == .create, creations.add() == 1 else { return nil }
            for _ in 0..<70 { _ = try await rival.commit(as: epoch, grow) }
            try await world.memory.delete([Manifest.key(of: world.volume, number: base.number + 1)])
            return nil
        }
        #expect(await code { _ = try await log.commit(as: epoch, grow) } == .unavailable)
        #expect(blocks(try await world.newestManifest()) == 70)
    }

    @Test func manyWritersThroughABadStore() async throws {
        for seed in UInt64(1)...2 {
            let world = World()
            let epoch = try await world.claimed().epoch
            let done = Counter(), open = Counter()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for writer in UInt64(0)..<6 {
                    let rates = FaultRates(failBefore: 0.1, failAfter: 0.1)
                    let faults = FaultStore(world.memory, seed: seed << 8 | writer, rates: rates)
                    group.addTask {
                        let log = world.manifests(through: Yielding(faults))
                        for _ in 0..<15 {
                            do {
                                _ = try await log.commit(as: epoch, grow)
                                done.add()
                            } catch  where error.storageCode == .unavailable {
                                open.add()
                            }
                        }
                    }
                }
                group.addTask {
                    // gc: numbers that nobody needs, close behind the newest.
                    let objects = world.manifests().objects
                    for _ in 0..<60 {
                        let numbers = try await objects.numbers().dropFirst(3)
                        try await world.memory.delete(numbers.map(objects.key))
                        await Task.yield()
                    }
                }
                try await group.waitForAll()
            }
            let effects = Int(blocks(try await world.newestManifest()))
            #expect(effects >= done.value && effects <= done.value + open.value, "seed \(seed)")
            #expect(done.value > 60, "seed \(seed)")
        }
    }
}

/// Lets others run before each request, so that writers interleave.
struct Yielding: ObjectStore {
    let base: any ObjectStore
    init(_ base: any ObjectStore) { self.base = base }
    var location: String { base.location }
    func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        await Task.yield()
        return try await base.get(key, range: range)
    }
    func head(_ key: ObjectKey) async throws -> ObjectInfo? { try await base.head(key) }
    func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        await Task.yield()
        return try await base.create(key, bytes, sha256: sha256)
    }
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        await Task.yield()
        return try await base.list(prefix: prefix, after: after, limit: limit)
    }
    func delete(_ keys: [ObjectKey]) async throws { try await base.delete(keys) }
}
