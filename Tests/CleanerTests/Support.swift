import BlockMap
import Codec
import ObjectStorage
import SegmentLog
import Snapshots
import StoreCore
import Synchronization
import Testing

@testable import Cleaner

/// A clock that stands still but for what a test adds.
final class TestTime: TimeSource {
    private let state = Mutex<Int64>(1_700_000_000_000_000_000)
    func now() -> Timestamp { Timestamp(nanoseconds: state.withLock { $0 }) }
    func monotonicNanoseconds() -> UInt64 { UInt64(state.withLock { $0 }) }
    func sleep(for duration: Duration) async throws {
        advance(duration)
        await Task.yield()
    }
    func advance(_ duration: Duration) {
        state.withLock {
            $0 += duration.components.seconds * 1_000_000_000 + duration.components.attoseconds / 1_000_000_000
        }
    }
}

/// What a disk should hold: a number for each block that is not zero.
typealias Contents = [UInt64: UInt64]

func blockContent(_ value: UInt64) -> [UInt8] {
    var bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: value), count: blockBytes)
    for index in 0..<8 { bytes[index] = UInt8(truncatingIfNeeded: value >> (56 - 8 * UInt64(index))) }
    return bytes
}

/// A store with real objects, and what every volume and snapshot in it must read as.
final class World: @unchecked Sendable {
    let memory: MemoryStore
    let store: any ObjectStore
    let keys: KeyRing
    let time: TestTime
    let catalog: CatalogLog
    var options = GCOptions()
    /// By name: `a`, `a@s`.
    var expected: [String: Contents] = [:]
    var nextValue: UInt64 = 1

    init(memory: MemoryStore? = nil, keys: KeyRing = .generate()) {
        time = TestTime()
        self.memory = memory ?? MemoryStore(time: time)
        store = self.memory
        self.keys = keys
        catalog = CatalogLog(store: store, keys: keys, time: time)
        options.tombstoneRetention = .zero
        options.policy.smallBytes = 0
        options.policy.packedBytesTarget = 256 << 10
    }
    /// The same objects, copied, for a crash or a rival.
    func copy() -> World {
        let memory = MemoryStore(time: time)
        for (key, bytes) in self.memory.snapshotOfObjects() { memory.replace(key, bytes) }
        let copy = World(memory: memory, keys: keys)
        copy.options = options
        copy.expected = expected
        copy.nextValue = nextValue
        copy.time.advance(.nanoseconds(time.now().nanoseconds - copy.time.now().nanoseconds))
        return copy
    }

    /// The same store under other options.
    func copyOfSettings() -> World {
        let other = World(memory: memory, keys: keys)
        other.options = options
        other.time.advance(.nanoseconds(time.now().nanoseconds - other.time.now().nanoseconds))
        return other
    }

    func maps(_ store: (any ObjectStore)? = nil) -> MapReader {
        MapReader(store: store ?? self.store, keys: keys, pages: PageCache(bytes: 1 << 20))
    }
    func collector(through other: (any ObjectStore)? = nil) -> GarbageCollector {
        let store = other ?? self.store
        return GarbageCollector(
            store: store, keys: keys, catalog: CatalogLog(store: store, keys: keys, time: time), maps: maps(store),
            time: time,
            options: options)
    }
    @discardableResult
    func gc(dryRun: Bool = false) async throws -> GCReport { try await collector().collect(dryRun: dryRun) }

    func segmentBytes() -> UInt64 {
        memory.snapshotOfObjects().reduce(0) { sum, object in
            guard case .segment = ObjectName(object.key) else { return sum }
            return sum + UInt64(object.value.count)
        }
    }
    func count(_ kind: String) -> Int { memory.keys.count { ObjectName($0).kind == kind } }
}

/// A volume with its writer, by hand.
final class TestVolume {
    let world: World
    let record: VolumeRecord
    let manifests: ManifestLog
    private(set) var manifest: Manifest
    var contents: Contents = [:]
    private var memtable = Memtable()
    private var cursor: LogCursor
    private var sequence = SegmentSequence(1)
    private var time: Timestamp { world.time.now() }
    var name: String { record.name }
    var id: VolumeID { record.id }

    private init(_ world: World, _ record: VolumeRecord, _ manifests: ManifestLog, _ manifest: Manifest) {
        self.world = world
        self.record = record
        self.manifests = manifests
        self.manifest = manifest
        cursor = LogCursor(
            position: manifest.state.covered, hash: manifest.state.coveredHash, lastWrite: manifest.state.coveredWrite)
    }

    static func make(_ world: World, _ name: String, blocks: UInt64 = 4096) async throws -> TestVolume {
        let state = VolumeState(
            sizeBytes: blocks * UInt64(blockBytes), covered: .beginning, coveredHash: .zero,
            coveredWrite: WriteSequence(0),
            coveredTime: world.time.now(), map: .empty)
        return try await make(world, name, state, contents: [:])
    }
    static func make(
        _ world: World, _ name: String, _ state: VolumeState, contents: Contents, parent: Lineage? = nil,
        source: BranchSource? = nil
    ) async throws -> TestVolume {
        let bornAt = try await world.catalog.newest().number
        let record = VolumeRecord(id: .random(), name: name, created: world.time.now(), parent: parent)
        let manifests = ManifestLog(volume: record.id, store: world.store, keys: world.keys, time: world.time)
        _ = try await manifests.create(state, parent: parent?.volume)
        try await world.catalog.commit { editor in
            if let source {
                try editor.addBranch(record, of: source, bornAt: bornAt)
            } else {
                try editor.createVolume(record, bornAt: bornAt)
            }
        }
        let manifest = try await manifests.claim(token: .random(), host: "test", takeOver: true).manifest
        let volume = TestVolume(world, record, manifests, manifest)
        volume.contents = contents
        world.expected[name] = contents
        return volume
    }

    /// One segment with a fresh value for each of these blocks.
    func write(
        _ blocks: some Sequence<UInt64>, recordBlocks: Int = 4, compressionLevel: Int32? = nil
    ) async throws {
        let id = SegmentID.log(volume: id, epoch: manifest.epoch, sequence: sequence)
        var builder = try SegmentBuilder(
            id: id, keys: world.keys,
            options: SegmentOptions(recordBlocks: recordBlocks, compressionLevel: compressionLevel))
        let sorted = Set(blocks).sorted()
        for block in sorted {
            contents[block] = world.nextValue
            let bytes = blockContent(world.nextValue)
            world.nextValue += 1
            try builder.append(BlockRange(first: BlockIndex(block), count: 1), bytes.span.bytes)
        }
        let write = cursor.lastWrite.next
        let segment = try builder.seal(
            previousHash: cursor.hash, firstWrite: write, lastWrite: write, firstTime: time, lastTime: time,
            volumeBytes: manifest.state.sizeBytes)
        _ = try await world.store.create(segment.reference.id.key, segment.bytes)
        memtable.insert(segment.extents)
        cursor = LogCursor(
            position: LogPosition(epoch: manifest.epoch, sequence: sequence), hash: segment.reference.contentHash,
            lastWrite: write)
        sequence = sequence.next
        world.expected[name] = contents
    }
    func trim(_ range: BlockRange) async throws {
        memtable.set(range, .zero)
        for block in range.first.value..<range.end.value { contents[block] = nil }
        world.expected[name] = contents
    }

    private func frozen() async throws -> (VolumeState, [RunReference]) {
        let runs = try RunBuilder.build(memtable, volume: id, epoch: manifest.epoch, keys: world.keys)
        for run in runs { try await run.upload(to: world.store) }
        var state = manifest.state
        state.covered = cursor.position
        state.coveredHash = cursor.hash
        state.coveredWrite = cursor.lastWrite
        state.map = state.map.adding(level0: runs.map(\.reference))
        return (state, runs.map(\.reference))
    }
    /// Freezes and uploads, as for a checkpoint whose manifest takes its time, and makes a branch of it meanwhile.
    func branchBeforeCheckpoint(_ new: String) async throws -> (branch: TestVolume, checkpoint: VolumeState) {
        let state = try await frozen().0
        let branch = try await TestVolume.make(
            world, new, state.startingNewVolume(), contents: contents,
            parent: Lineage(volume: id, volumeName: name, time: time),
            source: .volume(id, fromManifest: manifest.number, epoch: manifest.epoch))
        return (branch, state)
    }
    func checkpoint(_ prepared: VolumeState? = nil) async throws {
        guard !memtable.isEmpty else { return }
        let state = if let prepared { prepared } else { try await frozen().0 }
        manifest = try await manifests.commit(as: manifest.epoch) { $0.state = state }
        memtable = Memtable()
    }
    func compact(resolving: Bool = true) async throws {
        guard let plan = CompactionPlan.full(for: manifest.state.map, evenIfMerged: true) else { return }
        let resolve = resolving ? try await RelocationLog(store: world.store, keys: world.keys).resolver() : nil
        let edit = try await Compactor.run(
            plan, reader: world.maps(), volume: id, epoch: manifest.epoch, store: world.store, resolve: resolve)
        manifest = try await manifests.commit(as: manifest.epoch) { $0.state.map = try $0.state.map.applying(edit) }
    }

    /// A state to pin, with its runs and its version in the store, not yet in the catalog.
    func captured(_ snapshot: String) async throws -> SnapshotRecord {
        let state = try await frozen().0
        let version = PinnedVersion(volume: id, epoch: manifest.epoch, state: state, created: time)
        let (reference, bytes) = try version.seal(with: world.keys)
        _ = try await world.store.create(reference.key, bytes)
        return SnapshotRecord(
            id: .random(), volume: id, name: snapshot, created: time, version: reference, sizeBytes: state.sizeBytes,
            fromManifest: manifest.number)
    }
    @discardableResult
    func snapshot(_ snapshot: String) async throws -> SnapshotRecord {
        let record = try await captured(snapshot)
        try await world.catalog.commit { try $0.addSnapshot(record) }
        world.expected["\(name)@\(snapshot)"] = contents
        return record
    }
    func removeSnapshot(_ snapshot: String) async throws {
        let id = id
        try await world.catalog.commit { editor in
            guard let record = editor.state.snapshot(named: snapshot, of: id) else { return }
            try editor.removeSnapshot(record.id)
        }
        world.expected["\(name)@\(snapshot)"] = nil
    }
    func branch(_ new: String, ofSnapshot snapshot: String) async throws -> TestVolume {
        let state = try await world.catalog.newest()
        let record = try #require(state.snapshot(named: snapshot, of: id))
        let version = try await PinnedVersion.load(record.version, from: world.store, keys: world.keys)
        return try await .make(
            world, new, version.state.startingNewVolume(), contents: world.expected["\(name)@\(snapshot)"] ?? [:],
            parent: Lineage(volume: id, volumeName: name, time: time),
            source: .snapshot(record.id, version: record.version))
    }
    func branch(_ new: String) async throws -> TestVolume {
        let state = try await frozen().0
        return try await .make(
            world, new, state.startingNewVolume(), contents: contents,
            parent: Lineage(volume: id, volumeName: name, time: time),
            source: .volume(id, fromManifest: manifest.number, epoch: manifest.epoch))
    }

    /// A crash and the next opening: the tail is replayed.
    func reopened() async throws -> TestVolume {
        let claimed = try await manifests.claim(token: .random(), host: "next", takeOver: true).manifest
        let volume = TestVolume(world, record, manifests, claimed)
        var ends: [EpochEnd] = []
        for closed in claimed.closedEpochs { ends.append(EpochEnd(epoch: closed.epoch, end: closed.end)) }
        let covered = claimed.state.covered
        for epoch in claimed.openEpochs where epoch < claimed.epoch {
            let after = epoch == covered.epoch ? covered.sequence : SegmentSequence(0)
            let end = try await EpochLog.close(
                epoch, after: after, by: claimed.epoch, volume: id, store: world.store, keys: world.keys,
                time: world.time)
            ends.append(EpochEnd(epoch: epoch, end: end))
        }
        ends = ends.filter { $0.epoch >= covered.epoch }.sorted { $0.epoch < $1.epoch }
        volume.cursor = try await EpochLog.tail(
            of: id, from: volume.cursor, through: ends, store: world.store, keys: world.keys
        ) { volume.memtable.insert($1.extents(of: $0)) }
        let closings = ends
        volume.manifest = try await manifests.commit(as: claimed.epoch) { manifest in
            for end in closings { try manifest.close(end.epoch, at: end.end) }
        }
        volume.contents = contents
        return volume
    }

    /// As the engine deletes.
    func delete(leavingTombstone: Bool = true) async throws {
        let claimed = try await manifests.claim(token: .random(), host: "deleter", takeOver: true).manifest
        let id = id
        try await world.catalog.commit { _ = try $0.removeVolume(id, force: true) }
        for name in world.expected.keys where name == self.name || name.hasPrefix(self.name + "@") {
            world.expected[name] = nil
        }
        guard leavingTombstone else { return }
        let covered = claimed.state.covered
        var ends: [EpochEnd] = []
        for epoch in claimed.openEpochs {
            let after = epoch == covered.epoch ? covered.sequence : SegmentSequence(0)
            let end = try await EpochLog.close(
                epoch, after: after, by: claimed.epoch.next, volume: id, store: world.store, keys: world.keys,
                time: world.time)
            ends.append(EpochEnd(epoch: epoch, end: end))
        }
        let closings = ends
        _ = try await manifests.commit(as: claimed.epoch) { manifest in
            for end in closings { try manifest.close(end.epoch, at: end.end) }
            manifest.isTombstone = true
        }
    }
}
