import ObjectStorage
import Snapshots
import StoreCore
import Synchronization
import Testing

@testable import Cleaner

@Suite struct NothingReachableGoes {
    @Test(arguments: UInt64(1)...12) func whateverHappenedBefore(seed: UInt64) async throws {
        let world = World()
        var history = History(world, seed: seed)
        for round in 0..<6 {
            for _ in 0..<20 { try await history.step() }
            if seed % 3 == 0 { world.options.policy.smallBytes = 1 << 20 }
            try await world.gc()
            try await world.check("seed \(seed), round \(round)")
        }
        // Checkpoints, so that all that a version of the current epoch held can be told from what is on its way.
        for volume in history.volumes {
            try await volume.write([1])
            try await volume.checkpoint()
        }
        try await world.gc()
        try await world.gc()
        try await world.check("seed \(seed)")
        try await world.checkNothingElseIsLeft("seed \(seed)")
    }

    @Test(arguments: UInt64(200)...203) func howeverLittleMemoryThereIs(seed: UInt64) async throws {
        let world = World()
        world.options.recordsMax = 30
        world.options.layoutsMergedMax = 1
        world.options.candidatesMax = 6
        var history = History(world, seed: seed)
        for round in 0..<5 {
            for _ in 0..<20 { try await history.step() }
            try await world.gc()
            try await world.check("seed \(seed), round \(round)")
        }
    }

    /// Every prefix of a pass's requests, as a crash leaves them; then a pass that is not disturbed.
    @Test(arguments: [false, true]) func whereverAPassStops(answerLost: Bool) async throws {
        let start = try await busyWorld()
        let count = Mutex(0)
        let counted = start.copy()
        let counting = FaultStore(counted.memory) { _ in
            count.withLock { $0 += 1 }
            return nil
        }
        _ = try await counted.collector(through: counting).collect()
        let requests = count.withLock { $0 }
        #expect(requests > 60)
        for stop in 0..<requests {
            let world = start.copy()
            let broken = FaultStore(world.memory) { request in
                if request.number > stop || (request.number == stop && !answerLost) {
                    throw StorageError(.cancelled, "crash")
                }
                return request.number == stop ? .failAfter(StorageError(.cancelled, "crash")) : nil
            }
            await #expect(throws: (any Error).self) { try await world.collector(through: broken).collect() }
            try await world.check("stopped at \(stop)")
            try await world.gc()
            try await world.gc()
            try await world.check("after a stop at \(stop)")
            try await world.checkNothingElseIsLeft("after a stop at \(stop)")
        }
    }

    @Test(arguments: UInt64(1)...4) func twoPassesAtOnce(seed: UInt64) async throws {
        let world = World()
        var history = History(world, seed: 100 + seed)
        for round in 0..<5 {
            for _ in 0..<20 { try await history.step() }
            await withTaskGroup(of: Void.self) { group in
                for _ in 0..<2 {
                    group.addTask {
                        do { try await world.gc() } catch {
                            #expect(error.storageCode == .busy || error.storageCode == .unavailable, "\(error)")
                        }
                    }
                }
            }
            try await world.check("seed \(seed), round \(round)")
        }
    }

    /// One pass is paused at each of its requests while another runs from beginning to end.
    @Test func aPassThatWasPausedDeletesOnlyGarbage() async throws {
        let start = try await busyWorld()
        for stop in stride(from: 0, to: 140, by: 3) {
            let world = start.copy()
            let paused = FaultStore(world.memory) { request in
                guard request.number == stop else { return nil }
                try await world.gc()
                try await world.check("while a pass is paused at \(stop)")
                return nil
            }
            do { _ = try await world.collector(through: paused).collect() } catch {
                #expect(error.storageCode == .busy, "paused at \(stop): \(error)")
            }
            try await world.check("paused at \(stop)")
            try await world.gc()
            try await world.gc()
            try await world.check("after a pause at \(stop)")
            try await world.checkNothingElseIsLeft("after a pause at \(stop)")
        }
    }

    /// One is paused where its packed segments are there and nothing names them yet. Who comes by and does not take
    /// over its victims must leave them alone: their record may still be published, and the victims go.
    @Test func packedSegmentsStayWhileTheirRecordsMayCome() async throws {
        let start = try await busyWorld()
        for moment in 0..<2 {
            let world = start.copy()
            // One record after the other.
            world.options.requestsInFlightMax = 1
            let records = RecordCount()
            let paused = FaultStore(world.memory) { request in
                guard records.number(of: request) == moment else { return nil }
                let rival = world.copyOfSettings()
                rival.options.repacks = false
                try await rival.gc()
                return nil
            }
            do { _ = try await world.collector(through: paused).collect() } catch {
                #expect(error.storageCode == .busy, "\(error)")
            }
            #expect(records.count > moment)
            try await world.check("paused at record \(moment)")
            try await world.gc()
            try await world.gc()
            try await world.check("after a pause at record \(moment)")
            try await world.checkNothingElseIsLeft("after a pause at record \(moment)")
        }
    }

    /// One pass lists the relocation records while another publishes them, and goes on when all are there, before any
    /// victim goes: it knows some of the names of a new packed segment, and must not empty it by these.
    @Test func recordsThatCameBehindTheListingAreNotForgotten() async throws {
        let start = try await busyWorld()
        for moment in 1..<8 {
            let world = start.copy()
            world.options.requestsInFlightMax = 1
            world.options.policy.smallBytes = 1 << 20
            let rival = world.copyOfSettings()
            let isListing = Mutex(false), hasListed = Mutex(false), mayGoOn = Mutex(false)
            let records = RecordCount()
            let held = FaultStore(world.memory) { request in
                if isListing.withLock({ $0 }) {
                    hasListed.withLock { $0 = true }
                    while !mayGoOn.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(1)) }
                }
                if request.prefix == "relocated/" { isListing.withLock { $0 = true } }
                return nil
            }
            let second = Mutex<Task<Void, any Error>?>(nil)
            let first = FaultStore(world.memory) { request in
                if request.kind == .delete {
                    mayGoOn.withLock { $0 = true }
                    do { try await second.withLock { $0 }?.value } catch { #expect(error.storageCode == .busy) }
                }
                guard records.number(of: request) == moment else { return nil }
                second.withLock { $0 = Task { _ = try await rival.collector(through: held).collect() } }
                while !hasListed.withLock({ $0 }) { try await Task.sleep(for: .milliseconds(1)) }
                return nil
            }
            do { _ = try await world.collector(through: first).collect() } catch {
                #expect(error.storageCode == .busy, "\(error)")
            }
            #expect(mayGoOn.withLock { $0 } && hasListed.withLock { $0 })
            try await world.check("listed at record \(moment)")
            try await world.gc()
            try await world.gc()
            try await world.check("after a listing at record \(moment)")
            try await world.checkNothingElseIsLeft("after a listing at record \(moment)")
        }
    }

    /// A pass is paused behind its announcement; a volume is made, and a rival moves what it needs: the pass must go by
    /// a catalog that shows it.
    @Test(arguments: ["cleaner/", "relocated/"]) func whatWasEnteredDuringAPassStays(prefix: String) async throws {
        let world = try await busyWorld()
        let isFirst = Mutex(true)
        let held = FaultStore(world.memory) { request in
            guard request.prefix == prefix,
                isFirst.withLock({ first in
                    defer { first = false }
                    return first
                })
            else { return nil }
            let volume = try await TestVolume.make(world, "late", blocks: 64)
            try await volume.write(0..<64, recordBlocks: 1)
            try await volume.checkpoint()
            try await volume.write(0..<56, recordBlocks: 1)
            try await volume.checkpoint()
            let rival = world.copyOfSettings()
            rival.options.policy.smallBytes = 1 << 20
            let report = try await rival.gc()
            #expect(report.segmentsRepacked > 0)
            return nil
        }
        do { _ = try await world.collector(through: held).collect() } catch {
            #expect(error.storageCode == .busy, "\(error)")
        }
        #expect(!isFirst.withLock { $0 })
        try await world.check("paused before \(prefix)")
        try await world.gc()
        try await world.check("after a pause before \(prefix)")
    }

    /// Garbage of every kind, and much to repack.
    private func busyWorld() async throws -> World {
        let world = World()
        world.options.policy.packedBytesTarget = 64 << 10
        let volume = try await TestVolume.make(world, "a", blocks: 64)
        for round in UInt64(0)..<4 {
            try await volume.write(stride(from: round, to: 64, by: Int(round) + 1), recordBlocks: 2)
            try await volume.checkpoint()
            if round == 1 { try await volume.snapshot("s") }
            if round == 2 { try await volume.snapshot("t") }
        }
        let branch = try await volume.branch("b", ofSnapshot: "s")
        try await branch.write(0..<20)
        try await branch.checkpoint()
        let gone = try await branch.branch("c")
        try await gone.write(5..<9)
        try await volume.removeSnapshot("t")
        try await gone.delete()
        try await world.gc()
        for round in UInt64(0)..<3 {
            try await volume.write(stride(from: round * 7, to: 50, by: 3), recordBlocks: 2)
            try await volume.checkpoint()
        }
        try await branch.write(10..<40)
        let next = try await volume.reopened()
        try await next.write([3])
        try await next.checkpoint()
        try await branch.checkpoint()
        try await branch.compact()
        try await world.check("in the beginning")
        return world
    }
}

/// Counts the relocation records that a store is told to create.
private final class RecordCount: Sendable {
    private let created = Mutex(0)
    var count: Int { created.withLock { $0 } }

    /// From 0; nil for any other request.
    func number(of request: StoreRequest) -> Int? {
        guard request.kind == .create, let key = request.key, RelocationRecord.name(of: key) != nil else { return nil }
        return created.withLock { created in
            defer { created += 1 }
            return created
        }
    }
}
