import Codec
import Logging
import Snapshots
public import StoreCore
import Synchronization

/// What NBD asks for.
extension Engine: DeviceDirectory {
    public func exportNames() async throws -> [String] {
        let catalog = try await catalog.newest()
        return catalog.volumes.flatMap { volume in
            [volume.name] + catalog.snapshots(of: volume.id).map { "\(volume.name)@\($0.name)" }
        }.filter(isServed).sorted()
    }

    public func describe(_ name: String) async throws -> DeviceDescription {
        let (volume, snapshot) = try await find(name)
        if let snapshot {
            return DeviceDescription(
                name: name, summary: "zerofs snapshot \(name)", size: snapshot.sizeBytes, isReadOnly: true)
        }
        let size = try await currentSize(of: volume)
        return DeviceDescription(name: name, summary: "zerofs volume \(name)", size: size, isReadOnly: false)
    }

    public func attach(_ name: String) async throws -> any BlockDevice { try await attach(name, for: .here) }

    public func attach(_ name: String, for client: DeviceClient) async throws -> any BlockDevice {
        do { return try await attachAdmitted(name, client) } catch {
            // Whoever asks for what is not there, or for nothing sensible, is no event.
            let isNews = ![.notFound, .invalid, .cancelled].contains(error.storageCode)
            if isNews {
                context.eventSometimes(
                    .exportRefused, rate, volume: name,
                    details: ["client": client.peer, "code": error.storageCode.rawValue], "\(error)")
            }
            throw error
        }
    }

    private func attachAdmitted(_ name: String, _ client: DeviceClient) async throws -> any BlockDevice {
        let (record, snapshot) = try await find(name)
        if let snapshot { return try await attach(snapshot, of: record, as: name) }
        let volume = try await open(record)
        let bootID = try await context.disk.bootID()
        func admit(_ open: OpenVolumes) throws {
            try volume.admit(client, settings.afterCrash, bootID: bootID)
            let isClosing = volume.state.withLock { $0.isClosing }
            guard !open.reserved.contains(record.id), !isClosing else { throw Self.isReserved(record) }
        }
        // First without a trace: a client that is refused must not leave a note that clients were served.
        try openVolumes.withLock { try admit($0) }
        try await volume.beginAnswering()
        // In the lock in which a deletion or a rollback reserves the volume: it sees this connection, or this sees it.
        try openVolumes.withLock { open in
            try admit(open)
            volume.state.withLock { $0.attachedCount += 1 }
        }
        return volume
    }

    /// Counted first, and looked for again: either a deletion sees this connection, or this sees the deletion.
    private func attach(
        _ snapshot: SnapshotRecord, of record: VolumeRecord, as name: String
    ) async throws -> any BlockDevice {
        try openVolumes.withLock { open in
            guard !open.deletedSnapshots.contains(snapshot.id) else {
                throw StorageError(.busy, "snapshot '\(name)' is being deleted")
            }
            open.attachedSnapshots[snapshot.id, default: 0] += 1
        }
        do {
            guard let snapshot = try await catalog.newest().snapshot(snapshot.id) else {
                throw StorageError(.notFound, "snapshot '\(name)' was deleted")
            }
            let version = try await PinnedVersion.load(snapshot.version, from: store, keys: keys)
            return SnapshotDevice(
                id: snapshot.id, name: "\(record.name)@\(snapshot.name)", size: version.state.sizeBytes,
                layout: version.state.map, context: context, deadline: settings.volume.storeDeadline
            ) { [catalog, store, keys] in
                guard let record = try await catalog.newest().snapshot(snapshot.id) else {
                    throw StorageError(.notFound, "snapshot \(name) was deleted")
                }
                return try await PinnedVersion.load(record.version, from: store, keys: keys).state.map
            }
        } catch {
            release(snapshot.id)
            throw error
        }
    }
    private func release(_ snapshot: SnapshotID) {
        openVolumes.withLock { open in
            let count = (open.attachedSnapshots[snapshot] ?? 1) - 1
            open.attachedSnapshots[snapshot] = count > 0 ? count : nil
        }
    }
    private static func isReserved(_ record: VolumeRecord) -> StorageError {
        StorageError(.busy, "volume '\(record.name)' is being deleted or rolled back")
    }

    public func detach(_ device: any BlockDevice) async {
        switch device {
        case let volume as Volume: volume.state.withLock { $0.attachedCount -= 1 }
        case let snapshot as SnapshotDevice: release(snapshot.id)
        default: break
        }
    }

    private func isServed(_ export: String) -> Bool {
        guard let served = settings.servedVolumes else { return true }
        return served.contains(export) || served.contains(String(export.prefix { $0 != "@" }))
    }
    private func find(_ export: String) async throws -> (volume: VolumeRecord, snapshot: SnapshotRecord?) {
        guard isServed(export) else { throw StorageError(.notFound, "volume \(export) is not served here") }
        return try await catalog.newest().resolve(try VolumeReference(parsing: export))
    }
    func currentSize(of record: VolumeRecord) async throws -> UInt64 {
        if let volume = await openVolume(record.id) { return volume.size }
        return try await manifest(of: record).state.sizeBytes
    }
    func manifest(of record: VolumeRecord) async throws -> Manifest {
        try await newest(
            of: record,
            in: ManifestLog(volume: record.id, name: record.name, store: store, keys: keys, time: context.time))
    }
    func newest(of record: VolumeRecord, in manifests: ManifestLog) async throws -> Manifest {
        let known = marks.marks
        guard let manifest = try await manifests.newest() else {
            throw StorageError.corrupt("volumes/\(record.id)/manifest", "volume \(record.name) has no manifest")
        }
        // Also who only looks must not take an old state for the present one.
        try marks.observe(.manifest(record.id), manifest.number, since: known)
        try marks.observe(.epoch(record.id), manifest.epoch.value, since: known)
        return manifest
    }

    /// The volume if it is open here and sound.
    func openVolume(_ id: VolumeID) async -> Volume? {
        guard let opening = openVolumes.withLock({ $0.openings[id] }) else { return nil }
        guard case .success(let volume) = await opening.result else { return nil }
        return volume.failure == nil ? volume : nil
    }

    /// Opens a volume for writing, once: who comes meanwhile shares the opening. One that has failed is opened anew.
    func open(_ record: VolumeRecord) async throws -> Volume {
        var failure: StorageError?
        for _ in 0..<3 {
            let opening = try opening(of: record)
            do {
                let volume = try await opening.value
                // A killed server must find them as well.
                await saveMarks()
                openVolumes.withLock { open in
                    open.takeOver.remove(record.name)
                    open.acceptsLoss.remove(record.name)
                }
                failure = volume.failure
                guard failure != nil else { return volume }
                await dropFailed(record.id, opening)
            } catch {
                await dropFailed(record.id, opening)
                noteOpeningFailed(record, error)
                throw error
            }
        }
        throw failure ?? StorageError(.unavailable, "volume '\(record.name)' fails as soon as it is opened")
    }

    private func opening(of record: VolumeRecord) throws -> Task<Volume, any Error> {
        let openedUnder = keys.currentKeyID
        return try openVolumes.withLock { open in
            guard !open.isClosed else { throw StorageError(.cancelled, "the server is stopping") }
            if let opening = open.openings[record.id] { return opening }
            guard !open.reserved.contains(record.id) else { throw Self.isReserved(record) }
            guard !open.dropping.contains(record.id) else {
                throw StorageError(.busy, "a left-over journal of volume '\(record.name)' is being dropped: try again")
            }
            let takeOver = open.takeOver.contains(record.name)
            let acceptsLoss = open.acceptsLoss.contains(record.name)
            open.underWay.insert(record.id)
            let opening = Task { [self] in
                defer { openVolumes.withLock { _ = $0.underWay.remove(record.id) } }
                return try await openAnew(record, takeOver: takeOver, acceptsLoss: acceptsLoss)
            }
            open.openedUnder[record.id] = openedUnder
            open.openings[record.id] = opening
            return opening
        }
    }

    private func openAnew(_ record: VolumeRecord, takeOver: Bool, acceptsLoss: Bool) async throws -> Volume {
        let volume = try await Volume.open(
            name: record.name, id: record.id, settings: settings.volume, context: context, marks: marks,
            takeOver: takeOver)
        do {
            if settings.snapshotsTakeOvers, let ousted = volume.ousted {
                await keepTakenOver(record, volume, from: ousted)
            }
            try await volume.forgetTakeOver()
            if acceptsLoss { _ = try await volume.acceptLoss(within: settings.volume.commandDeadline) }
        } catch {
            await volume.abandon()
            throw error
        }
        await releaseBrokenRollbacks(of: record, volume)
        return volume
    }

    /// Keeps a volume from being opened while `body` runs. Throws `busy` when another does.
    func reserving<R>(_ record: VolumeRecord, _ body: () async throws -> R) async throws -> R {
        let isFree = openVolumes.withLock { $0.reserved.insert(record.id).inserted }
        guard isFree else { throw Self.isReserved(record) }
        defer { openVolumes.withLock { _ = $0.reserved.remove(record.id) } }
        return try await body()
    }

    /// Forgets an opening that failed, or whose volume has failed, so that the next attach tries again.
    func dropFailed(_ id: VolumeID, _ opening: Task<Volume, any Error>) async {
        // Forgotten last: the next opening must not meet what this one still does to the journals.
        if case .success(let volume) = await opening.result { await volume.abandon() }
        openVolumes.withLock { open in
            if open.openings[id] == opening { open.openings[id] = nil }
        }
    }

    private func noteOpeningFailed(_ record: VolumeRecord, _ error: any Error) {
        guard [.corrupt, .unsupported].contains(error.storageCode) else { return }
        let code: EventCode = error.saysRolledBack ? .storeRolledBack : .corruptObject
        log.event(code, volume: record.name, "the volume cannot be opened: \(error)")
    }
}
