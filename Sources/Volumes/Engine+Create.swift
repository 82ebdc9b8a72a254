import BlockMap
import Codec
import Snapshots
public import StoreCore

extension Engine {
    /// A thin volume: two small objects, whatever its size.
    public func create(_ name: String, sizeBytes: UInt64) async throws -> CreatedReport {
        try Self.check(name: name)
        try Self.check(size: sizeBytes)
        let known = try await catalog.newest()
        guard known.volume(named: name) == nil else {
            throw StorageError(.alreadyExists, "there is a volume '\(name)' already")
        }
        let now = context.time.now()
        let state = VolumeState(
            sizeBytes: sizeBytes, covered: .beginning, coveredHash: .zero, coveredWrite: WriteSequence(0),
            coveredTime: now, map: .empty)
        return try await retryingBelowFloor {
            let record = VolumeRecord(id: .random(), name: name, created: now)
            try await self.enter(record, beginningWith: state)
            return CreatedReport(name: name, id: "\(record.id)", sizeBytes: sizeBytes)
        }
    }

    /// Enters a new volume: first manifest, then what it refers to (`durable`), then the catalog (R3). One whose
    /// catalog commit fails is never seen, and gc takes what is left of it.
    func enter(
        _ record: VolumeRecord, beginningWith state: VolumeState, of source: BranchSource? = nil,
        after durable: () async throws -> Void = {}
    ) async throws {
        // Of this round: what was born before a gc pass is refused for ever. Any number that was seen by now will do.
        let number = catalog.lastSeen?.number ?? 0
        let sealedUnder = keys.currentKeyID
        let manifests = ManifestLog(volume: record.id, store: store, keys: keys, time: context.time)
        _ = try await manifests.create(state, parent: record.parent?.volume)
        try await durable()
        try await catalog.commit { [keys] editor in
            try editor.requireKey(sealedUnder, of: keys)
            if let source {
                try editor.addBranch(record, of: source, bornAt: number)
            } else {
                try editor.createVolume(record, bornAt: number)
            }
        }
    }

    static func check(name: String) throws {
        _ = try VolumeReference(parsing: name)
        guard VolumeName.isValid(name) else {
            throw StorageError(.invalid, "'\(name)' is not a valid name: '@' stands between a volume and its snapshot")
        }
    }
    static func check(size bytes: UInt64) throws {
        guard bytes > 0, bytes <= Limits.volumeBytesMax else {
            throw StorageError(
                .invalid, "a volume is between 4K and \(ByteSize.format(Limits.volumeBytesMax)) in size")
        }
        guard bytes % UInt64(blockBytes) == 0 else {
            throw StorageError(.invalid, "a volume's size is a multiple of 4096 bytes, \(bytes) is not")
        }
    }

    public func rename(_ old: VolumeReference, to new: String) async throws -> VolumeReport {
        let name = old.snapshot != nil ? try Self.snapshotName(new, of: old) : new
        try Self.check(name: name)
        if let snapshot = old.snapshot {
            // `branch --from-journal` finds the snapshot by this name, and must find no other.
            guard !name.hasPrefix(Self.takeOverPrefix), !snapshot.hasPrefix(Self.takeOverPrefix) else {
                throw StorageError(
                    .invalid,
                    "snapshots named '\(Self.takeOverPrefix)…' belong to left-over journals: their names stay")
            }
        }
        try await catalog.commit { editor in
            let (volume, snapshot) = try editor.state.resolve(old)
            if let snapshot { try editor.rename(snapshot.id, to: name) } else { try editor.rename(volume.id, to: name) }
        }
        let renamed =
            old.snapshot != nil ? VolumeReference(volume: old.volume, snapshot: name) : VolumeReference(volume: name)
        return try await summary(of: renamed)
    }
    /// Accepts `SNAP` and `VOLUME@SNAP` for a snapshot's new name.
    private static func snapshotName(_ text: String, of old: VolumeReference) throws -> String {
        let reference = try VolumeReference(parsing: text)
        guard let snapshot = reference.snapshot else { return text }
        guard reference.volume == old.volume else {
            throw StorageError(.invalid, "a snapshot stays with its volume: '\(text)' names another")
        }
        return snapshot
    }

    public func hold(_ reference: VolumeReference, tag: String) async throws {
        try Self.check(name: tag)
        try await catalog.commit { try $0.hold(try $0.state.item(reference), tag: tag) }
    }
    public func release(_ reference: VolumeReference, tag: String) async throws {
        try await catalog.commit { try $0.release(try $0.state.item(reference), tag: tag) }
    }

    /// Shrinking cuts off data and wants `force`.
    public func resize(_ name: String, to bytes: UInt64, force: Bool) async throws -> VolumeReport {
        try Self.check(size: bytes)
        let record = try await catalog.newest().resolve(VolumeReference(volume: name)).volume
        let volume = try await open(record)
        guard bytes >= volume.size || force else {
            throw StorageError(
                .invalid,
                """
                shrinking '\(name)' from \(ByteSize.format(volume.size)) to \(ByteSize.format(bytes)) discards what \
                lies beyond: shrink the file system first, then use --force
                """)
        }
        if bytes != volume.size { try await volume.resize(to: bytes) }
        return try await summary(of: VolumeReference(volume: name))
    }
}

extension CatalogState {
    /// What a command names, for holds.
    fileprivate func item(_ reference: VolumeReference) throws(StorageError) -> CatalogItem {
        let (volume, snapshot) = try resolve(reference)
        return snapshot.map { .snapshot($0.id) } ?? .volume(volume.id)
    }
}
