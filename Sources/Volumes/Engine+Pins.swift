import Codec
import Logging
import ObjectStorage
import Snapshots
public import StoreCore

/// Snapshots and branches: freeze, upload in parallel, one catalog commit.
extension Engine {
    /// A snapshot of all writes that were answered before the call. Four round trips on the clock: a look at the
    /// catalog, the uploads, the catalog's creation, and the look that it was not overtaken. Without a name it is
    /// called by the time, in UTC.
    public func snapshot(_ name: String, name snapshotName: String?) async throws -> VolumeReport {
        let known = try await catalog.newest()
        let record = try known.resolve(VolumeReference(volume: name)).volume
        let wanted = snapshotName ?? timedName(of: record.id)
        try Self.check(name: wanted)
        guard !wanted.hasPrefix(Self.takeOverPrefix) else {
            throw StorageError(
                .invalid, "names that begin with '\(Self.takeOverPrefix)' are given when a volume is taken over")
        }
        guard known.snapshot(named: wanted, of: record.id) == nil else {
            throw StorageError(.alreadyExists, "volume '\(name)' has a snapshot '\(wanted)' already")
        }
        return VolumeReport(of: try await pin(record, as: wanted), in: record)
    }

    /// A snapshot's name by the time, in UTC; numbered where there is one of this second.
    func timedName(_ prefix: String = "", of volume: VolumeID) -> String {
        let name = prefix + context.time.now().utcText
        guard let known = catalog.lastSeen, known.snapshot(named: name, of: volume) != nil else { return name }
        var number = 2
        while known.snapshot(named: "\(name)-\(number)", of: volume) != nil { number += 1 }
        return "\(name)-\(number)"
    }

    /// - Parameter also: what else the catalog commit does.
    func pin(
        _ record: VolumeRecord, as name: String,
        also: @escaping @Sendable (inout CatalogEditor) throws -> Void = { _ in }
    ) async throws -> SnapshotRecord {
        try await pin(record, as: name, also: also) { try await self.captureState(of: record) }
    }

    /// With the journal's id, the name says which left journal goes on from the snapshot; so nothing else is called so.
    static let takeOverPrefix = "take-over-"

    /// Of a volume that was taken over and not yet served: where what its old owner's journal holds goes on from.
    func keepTakenOver(_ record: VolumeRecord, _ volume: Volume, from ousted: OwnerToken) async {
        do {
            let name = timedName("\(Self.takeOverPrefix)\(LeftJournal.id(of: ousted))-", of: record.id)
            _ = try await pin(record, as: name) {
                (volume.epoch, CapturedState(try await volume.capture(), of: volume))
            }
        } catch {
            log.warning(
                """
                volume \(record.name) was taken over and could not be snapshotted: bring its old owner's journal back \
                before the next gc, if there is need: \(error)
                """)
        }
    }

    private func pin(
        _ record: VolumeRecord, as name: String,
        also: @escaping @Sendable (inout CatalogEditor) throws -> Void = { _ in },
        capture: () async throws -> (Epoch, CapturedState)
    ) async throws -> SnapshotRecord {
        try await retryingBelowFloor {
            let sealedUnder = self.keys.currentKeyID
            let (epoch, captured) = try await capture()
            let now = self.context.time.now()
            let version = PinnedVersion(volume: record.id, epoch: epoch, state: captured.state, created: now)
            let (reference, bytes) = try version.seal(with: self.keys)
            async let uploaded = self.store.create(reference.key, bytes, sha256: reference.hash)
            try await captured.waitUntilDurable()
            _ = try await uploaded
            let snapshot = SnapshotRecord(
                id: .random(), volume: record.id, name: name, created: now, version: reference,
                sizeBytes: captured.state.sizeBytes, fromManifest: captured.fromManifest)
            try await self.catalog.commit { [keys = self.keys] editor in
                try editor.requireKey(sealedUnder, of: keys)
                try editor.addSnapshot(snapshot)
                try also(&editor)
            }
            return snapshot
        }
    }

    /// A writable volume that begins with another's state: its first manifest copies the list of runs.
    public func branch(_ source: VolumeReference, to new: String) async throws -> VolumeReport {
        try Self.check(name: new)
        let known = try await catalog.newest()
        guard known.volume(named: new) == nil else {
            throw StorageError(.alreadyExists, "there is a volume '\(new)' already")
        }
        let (volume, snapshot) = try known.resolve(source)
        if let snapshot { return try await branch(snapshot, of: volume, to: new) }
        return try await retryingBelowFloor {
            let (epoch, captured) = try await self.captureState(of: volume)
            let now = self.context.time.now()
            let lineage = Lineage(volume: volume.id, volumeName: volume.name, time: now)
            let record = VolumeRecord(id: .random(), name: new, created: now, parent: lineage)
            try await self.enter(
                record, beginningWith: captured.state.startingNewVolume(),
                of: .volume(volume.id, fromManifest: captured.fromManifest, epoch: epoch),
                after: { try await captured.waitUntilDurable() })
            return VolumeReport(of: record, sizeBytes: captured.state.sizeBytes)
        }
    }

    private func branch(
        _ snapshot: SnapshotRecord, of volume: VolumeRecord, to new: String
    ) async throws -> VolumeReport {
        let lineage = Lineage(
            volume: volume.id, volumeName: volume.name, snapshot: snapshot.id, snapshotName: snapshot.name,
            time: snapshot.created)
        return try await retryingBelowFloor {
            // As the catalog shows it, also after a commit that was refused.
            guard let snapshot = self.catalog.lastSeen?.snapshot(snapshot.id) else {
                throw StorageError(.notFound, "snapshot '\(volume.name)@\(snapshot.name)' was deleted")
            }
            let version = try await PinnedVersion.load(snapshot.version, from: self.store, keys: self.keys)
            let record = VolumeRecord(id: .random(), name: new, created: self.context.time.now(), parent: lineage)
            try await self.enter(
                record, beginningWith: version.state.startingNewVolume(),
                of: .snapshot(snapshot.id, version: snapshot.version))
            return VolumeReport(of: record, sizeBytes: version.state.sizeBytes)
        }
    }

    /// A volume's state now. One that is open here is frozen; one that was released is read from its manifest; one that
    /// this data directory left behind in a crash is opened and recovered. What another host holds is `busy`, because
    /// only that host knows what it has acknowledged.
    private func captureState(of record: VolumeRecord) async throws -> (Epoch, CapturedState) {
        if let volume = await openVolume(record.id) {
            return (volume.epoch, CapturedState(try await volume.capture(), of: volume))
        }
        let manifest = try await manifest(of: record)
        if manifest.owner?.isReleased ?? true {
            return (manifest.epoch, CapturedState(state: manifest.state, fromManifest: manifest.number))
        }
        let volume = try await open(record)
        return (volume.epoch, CapturedState(try await volume.capture(), of: volume))
    }

    /// gc may raise a volume's floor above the manifest that a pin rests on, or pass by while a volume is made, before
    /// the commit: it starts again from a newer one, with new ids.
    func retryingBelowFloor<R>(_ body: () async throws -> R) async throws -> R {
        for _ in 0..<8 {
            do { return try await body() } catch  where error.isBelowFloor { continue }
        }
        return try await body()
    }
}

/// A state to pin, and when it may be pinned.
private struct CapturedState {
    var state: VolumeState
    var fromManifest: UInt64
    /// Returns when all that the state refers to is in the store (R3).
    var waitUntilDurable: @Sendable () async throws -> Void = {}

    init(state: VolumeState, fromManifest: UInt64) {
        self.state = state
        self.fromManifest = fromManifest
    }
    init(_ capture: Capture, of volume: Volume) {
        self.init(state: capture.state, fromManifest: capture.fromManifest)
        waitUntilDurable = { try await volume.waitUntilDurable(capture) }
    }
}
