public import Codec
public import ObjectStorage
public import StoreCore

extension Manifest: NumberedVersion {
    // The floor of a volume's manifests stands in the catalog; the hint in here proves nothing.
    var numbersKeptFrom: UInt64? { nil }
}

/// The manifests of one volume: how its state moves on, and who may move it.
///
/// A commit belongs to an epoch. It is rebased on newer manifests of the same epoch; against a higher epoch it is
/// `fenced` and never rebased (R4). Thread-safe.
public final class ManifestLog: Sendable {
    public let volume: VolumeID
    /// The volume as messages call it.
    let label: String
    let keys: KeyRing
    let time: any TimeSource
    let log: NumberedLog<Manifest>

    /// - Parameter name: for messages; without it they give the id.
    public init(
        volume: VolumeID, name: String? = nil, store: any ObjectStore, keys: KeyRing, time: any TimeSource
    ) {
        self.volume = volume
        label = name.map { "volume '\($0)'" } ?? "volume \(volume)"
        self.keys = keys
        self.time = time
        // The owner is nearly alone here, so that its last manifest, however old, is the newest one.
        log = NumberedLog(
            NumberedObjects(prefix: Manifest.prefix(of: volume), store: store), time: time, baseAgeMax: nil
        ) { number, bytes, _ in
            try Manifest(opening: bytes, of: volume, number: number, keys: keys)
        }
    }

    /// The volume's manifests as objects, for who walks its history or deletes it.
    public var objects: NumberedObjects { log.objects }
    /// The last manifest that was read or committed here; the store is not asked.
    public var lastSeen: Manifest? { log.lastSeen }

    /// The highest manifest: one LIST, and one GET if it moved on. nil for a volume that has none.
    public func newest() async throws -> Manifest? { try await log.newest() }

    /// A certain manifest; nil where it does not exist (any more).
    public func manifest(number: UInt64) async throws -> Manifest? {
        try await log.objects.read(number).map { bytes throws(StorageError) in
            try Manifest(opening: bytes, of: volume, number: number, keys: keys)
        }
    }

    /// Creates the first manifest of a new volume or branch, whose id must be fresh; one PUT. Its name enters the
    /// catalog after it (R3). Throws `alreadyExists` where the volume has a manifest, `unavailable` when the outcome is
    /// open.
    public func create(_ state: VolumeState, parent: VolumeID? = nil) async throws -> Manifest {
        let manifest = Manifest(first: state, of: volume, parent: parent, created: time.now())
        let draft = try draft(manifest, .random())
        try await log.createFirst(draft)
        return draft.version
    }

    /// Commits `change` of the newest manifest as the next number, exactly once, and returns what was committed.
    ///
    /// `change` may run several times, each time on a newer manifest; what it throws is thrown.
    /// Throws `fenced` when a newer writer has claimed the volume, `notFound` when it was deleted, `invalid` when the
    /// change breaks a manifest's rules, `unavailable` when the outcome is open.
    @discardableResult
    public func commit(as epoch: Epoch, _ change: (inout Manifest) throws -> Void) async throws -> Manifest {
        let operation = OperationID.random()
        let made = try await log.commit(operation) { base, isCurrent in
            let base = try existing(base)
            guard base.epoch == epoch else { return try refuse(epoch, base, isCurrent) }
            try requireLive(base)
            var next = base.next(at: time.now())
            try change(&next)
            next.dropCoveredEpochs()
            try next.checkFollows(base)
            return .write(try draft(next, operation))
        }
        return try existing(made)
    }

    private func refuse(_ epoch: Epoch, _ base: Manifest, _ isCurrent: Bool) throws -> CommitDecision<Manifest> {
        if base.epoch > epoch { throw fenced(epoch, by: base) }
        // A claim that the cached manifest does not show yet.
        guard isCurrent else { return .lookFirst }
        throw StorageError.corrupt(
            base.key.text, "the store shows an older epoch than was claimed: the bucket was rolled back",
            expected: "epoch \(epoch)", actual: "\(base.epoch)")
    }

    private func fenced(_ epoch: Epoch, by manifest: Manifest) -> StorageError {
        let who = manifest.owner.map { " by \($0.host)" } ?? ""
        return StorageError(
            .fenced,
            "\(label) was claimed\(who) with epoch \(manifest.epoch); this writer's epoch \(epoch) is over")
    }

    func requireLive(_ manifest: Manifest) throws(StorageError) {
        guard !manifest.isTombstone else { throw StorageError(.notFound, "\(label) was deleted") }
    }
    func existing(_ manifest: Manifest?) throws(StorageError) -> Manifest {
        guard let manifest else {
            throw .corrupt(Manifest.prefix(of: volume), "the volume has no manifest")
        }
        return manifest
    }
    func draft(_ manifest: Manifest, _ operation: OperationID) throws(StorageError) -> VersionDraft<Manifest> {
        var manifest = manifest
        manifest.recentOperations = (manifest.recentOperations + [operation]).suffix(Limits.recentOperationsMax)
        return VersionDraft(version: manifest, bytes: try manifest.sealed(with: keys))
    }
}
