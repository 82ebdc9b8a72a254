import ObjectStorage
import SegmentLog
import StoreCore
import Synchronization
import Testing

@testable import Cleaner

/// A LIST takes its time: it may show what came while it ran, and not what came before that.
@Suite(.timeLimit(.minutes(10))) struct AListingIsNotOneMoment {
    /// One record leads from a victim to X, a later one from X to Y. A pass that had listed the place of the first
    /// while it was empty finds the second: nothing that it knows leads there, and it is needed all the same.
    @Test func recordsThatCameInTheMidstOfAListingStay() async throws {
        // Names are drawn by lot, and the records must lie in this order.
        for _ in 0..<100 {
            let world = try await movedWorld()
            if try await moveTwice(in: world) { return }
        }
        Issue.record("the names never lay as they must")
    }

    /// - Returns: false where the names do not lie as they must: then nothing was tried.
    private func moveTwice(in world: World) async throws -> Bool {
        let listing = Listing()
        let slow = FaultStore(ShortPages(world.memory)) { request in
            guard request.prefix == RelocationRecord.prefix, let last = request.after else { return nil }
            try await listing.turn(after: last)
            return nil
        }
        // Publishes the first record when its place was listed, and is stopped before it deletes anything.
        let first = FaultStore(world.memory) { request in
            if request.kind == .delete { throw StorageError(.cancelled, "stopped before the sweep") }
            guard request.kind == .create, let key = request.key, RelocationRecord.name(of: key) != nil else {
                return nil
            }
            guard world.recordsLieWell(for: key) else { throw StorageError(.cancelled, "other names are needed") }
            listing.begin(behind: key) { _ = try await world.collector(through: slow).collect() }
            try await listing.waitUntilHeld()
            return nil
        }
        await #expect { _ = try await world.collector(through: first).collect() } throws: {
            $0.storageCode == .cancelled
        }
        guard listing.hasBegun else { return false }
        let packed = try #require(world.packedSegments.last)

        // Empties X, and deletes it when the pass that listed has ended.
        let second = FaultStore(world.memory) { request in
            if request.kind == .delete { try await listing.end() }
            return nil
        }
        let rival = world.copyOfSettings()
        rival.movesEverything()
        _ = try await rival.collector(through: second).collect()
        try await listing.end()
        #expect(world.memory.keys.contains(RelocationRecord.key(of: packed)))
        #expect(!world.packedSegments.contains(packed))
        try await world.check("after the listing")
        try await world.gc()
        try await world.gc()
        try await world.check("later")
        try await world.checkNothingElseIsLeft("later")
        return true
    }

    /// Some relocation records, and one segment more that is mostly dead.
    private func movedWorld() async throws -> World {
        let world = World()
        let volume = try await TestVolume.make(world, "a", blocks: 64)
        for block in UInt64(0)..<8 { try await volume.write([block]) }
        try await volume.checkpoint()
        let mover = world.copyOfSettings()
        mover.movesEverything()
        try await mover.gc()
        #expect(world.count("relocation") == 8)
        for end in [UInt64(64), 56] {
            try await volume.write(8..<end, recordBlocks: 1)
            try await volume.checkpoint()
        }
        try await volume.snapshot("s")
        return world
    }
}

extension World {
    fileprivate func movesEverything() {
        options.policy.smallBytes = 1 << 20
        options.policy.smallCountMin = 1
    }
    /// Ascending.
    fileprivate var packedSegments: [SegmentID] {
        let segments = memory.keys.compactMap { key -> SegmentID? in
            guard case .segment(let id) = ObjectName(key), id.isPackedSegment else { return nil }
            return id
        }
        return segments.sorted()
    }
    /// Whether a LIST of single names can be stopped behind this record's, with that of the newest packed segment still
    /// to come.
    fileprivate func recordsLieWell(for key: ObjectKey) -> Bool {
        guard let packed = packedSegments.last else { return false }
        let behind = memory.keys.filter { RelocationRecord.name(of: $0) != nil && $0 > key }.sorted()
        return behind.count >= 2 && behind[0] < RelocationRecord.key(of: packed)
    }
}

/// A pass whose LIST of the relocation records is held between two pages.
private final class Listing: Sendable {
    private struct State {
        var pass: Task<Void, any Error>?
        var place: ObjectKey?
        var isHeld = false
        var mayGoOn = false
    }
    private let state = Mutex(State())
    var hasBegun: Bool { state.withLock { $0.pass != nil } }

    /// Starts the pass; it is held behind `key`.
    func begin(behind key: ObjectKey, _ pass: @escaping @Sendable () async throws -> Void) {
        state.withLock { state in
            state.place = key
            state.pass = Task { try await pass() }
        }
    }
    /// Before the page that follows `last`.
    func turn(after last: ObjectKey) async throws {
        let mustWait = state.withLock { state in
            guard let place = state.place, last > place, !state.isHeld else { return false }
            state.isHeld = true
            return true
        }
        while mustWait, !state.withLock({ $0.mayGoOn }) { try await Task.sleep(for: .milliseconds(1)) }
    }
    func waitUntilHeld() async throws {
        while !state.withLock({ $0.isHeld }) { try await Task.sleep(for: .milliseconds(1)) }
    }
    /// Lets it go on, and waits until it has ended.
    func end() async throws {
        let pass = state.withLock { state in
            state.mayGoOn = true
            return state.pass
        }
        try await pass?.value
    }
}

/// A store that lists relocation records one by one.
private struct ShortPages: ObjectStore {
    private let base: any ObjectStore
    var location: String { base.location }

    init(_ base: any ObjectStore) { self.base = base }
    func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] { try await base.get(key, range: range) }
    func head(_ key: ObjectKey) async throws -> ObjectInfo? { try await base.head(key) }
    func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        try await base.create(key, bytes, sha256: sha256)
    }
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        let most = prefix == RelocationRecord.prefix ? 1 : limit
        return try await base.list(prefix: prefix, after: after, limit: most)
    }
    func delete(_ keys: [ObjectKey]) async throws { try await base.delete(keys) }
}
