import BlockMap
import Codec
import ObjectStorage
import StoreCore
import Synchronization

@testable import Snapshots

/// A clock that stands still but for sleeps, which pass at once.
final class InstantTime: TimeSource {
    private let state: Mutex<Int64>
    init(_ start: Int64 = 1_700_000_000_000_000_000) { state = Mutex(start) }
    func now() -> Timestamp { Timestamp(nanoseconds: state.withLock { $0 }) }
    func monotonicNanoseconds() -> UInt64 { UInt64(state.withLock { $0 }) }
    func sleep(for duration: Duration) async throws {
        advance(duration)
        await Task.yield()
    }
    func advance(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        state.withLock { $0 += seconds * 1_000_000_000 + attoseconds / 1_000_000_000 }
    }
}

/// A store, its keys and its clock, and what tests make of them.
struct World: Sendable {
    let memory = MemoryStore()
    let keys = KeyRing.generate()
    let time = InstantTime()
    let volume = VolumeID(0xabc)

    func manifests(through store: (any ObjectStore)? = nil) -> ManifestLog {
        ManifestLog(volume: volume, store: store ?? memory, keys: keys, time: time)
    }
    func catalog(through store: (any ObjectStore)? = nil) -> CatalogLog {
        CatalogLog(store: store ?? memory, keys: keys, time: time)
    }
    /// A volume with its first manifest, claimed.
    func claimed() async throws -> Manifest {
        let log = manifests()
        _ = try await log.create(.sized(1 << 20))
        return try await log.claim(token: OwnerToken(1), host: "alpha", takeOver: false).manifest
    }
    func newestManifest() async throws -> Manifest {
        guard let manifest = try await manifests().newest() else { throw StorageError(.notFound, "no manifest") }
        return manifest
    }
    func record(_ name: String) -> VolumeRecord { VolumeRecord(id: .random(), name: name, created: time.now()) }
    func snapshot(_ name: String, of volume: VolumeID, fromManifest: UInt64 = 1) -> SnapshotRecord {
        SnapshotRecord(
            id: .random(), volume: volume, name: name, created: time.now(),
            version: VersionReference(volume: volume, epoch: Epoch(1), hash: .sha256(Array(name.utf8))),
            sizeBytes: 1 << 20, fromManifest: fromManifest)
    }
}

extension VolumeState {
    static func sized(_ bytes: UInt64) -> VolumeState {
        VolumeState(
            sizeBytes: bytes, covered: .beginning, coveredHash: .zero, coveredWrite: WriteSequence(0),
            coveredTime: Timestamp(nanoseconds: 0), map: .empty)
    }
}

extension CatalogLog {
    func create(_ record: VolumeRecord) async throws {
        let bornAt = try await newest().number
        try await commit { try $0.createVolume(record, bornAt: bornAt) }
    }
}

/// Opens once; who waits before that is held.
final class Gate: Sendable {
    private struct State {
        var isOpen = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }
    private let state = Mutex(State())
    func wait() async {
        await withCheckedContinuation { continuation in
            let isOpen = state.withLock { state in
                if !state.isOpen { state.waiting.append(continuation) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
    }
    func open() {
        let waiting = state.withLock { state in
            defer { state = State(isOpen: true) }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }
}

final class Counter: Sendable {
    private let state = Mutex(0)
    var value: Int { state.withLock { $0 } }
    @discardableResult func add(_ count: Int = 1) -> Int {
        state.withLock { state in
            state += count
            return state
        }
    }
}

/// The code that the body throws; nil where it throws nothing.
func code(_ body: () async throws -> Void) async -> ErrorCode? {
    do { try await body() } catch { return error.storageCode }
    return nil
}
func failure(_ body: () async throws -> Void) async -> StorageError? {
    do { try await body() } catch { return error as? StorageError }
    return nil
}

final class Synchronized<Value: Sendable>: Sendable {
    private let state: Mutex<Value>
    init(_ value: Value) { state = Mutex(value) }
    var value: Value { state.withLock { $0 } }
    func change(_ body: (inout Value) -> Void) { state.withLock { body(&$0) } }
}
