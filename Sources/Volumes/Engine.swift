import BlockMap
import Cache
import Codec
import Logging
import ObjectStorage
import Snapshots
import StoreCore
import Synchronization
import Uploader

/// A store, opened: its catalog, its volumes, and every command on them. The CLI runs commands on one of its own where
/// no server runs; `zerofs serve` keeps one and serves its devices.
///
/// Thread-safe. `openVolumes` guards which volumes are open and how often each is attached.
public final class Engine: Sendable {
    let store: any ObjectStore
    let storeKeys: StoreKeys
    var keys: KeyRing { storeKeys.ring }
    let settings: EngineSettings
    let context: VolumeContext
    let catalog: CatalogLog
    let log: Logger
    let openVolumes: Mutex<OpenVolumes>
    let marks: HighWaterFile
    let rate = EventRate()

    init(
        store: any ObjectStore, storeKeys: StoreKeys, settings: EngineSettings, context: VolumeContext,
        marks: HighWaterFile,
        log: Logger
    ) {
        self.store = store
        self.storeKeys = storeKeys
        self.settings = settings
        self.context = context
        self.catalog = CatalogLog(store: store, keys: storeKeys.ring, time: context.time)
        self.openVolumes = Mutex(OpenVolumes(takeOver: settings.takeOver, acceptsLoss: settings.acceptsLoss))
        self.marks = marks
        self.log = log
    }

    /// Drains and releases all open volumes at the same time. Throws an error of one after trying all: what could not
    /// be uploaded is in the journal.
    public func close() async throws {
        let failure = await withTaskGroup(of: (any Error)?.self) { group in
            for volume in await takeOpenVolumes() { group.addTask { await self.close(volume) } }
            return await group.reduce(nil) { $0 ?? $1 }
        }
        await context.fetcher.disk?.close()
        await saveMarks()
        if let failure { throw failure }
    }
    private func close(_ volume: Volume) async -> (any Error)? {
        do {
            try await volume.close(within: settings.volume.closeDeadline)
            try noteManifest(of: volume)
            return nil
        } catch {
            let isKept = settings.volume.isJournaled ? "what was not uploaded is in the journal" : "it is lost"
            volume.event(.closedDirty, "the volume did not close cleanly, \(isKept): \(error)")
            return error
        }
    }

    /// Notes the last manifest that a volume which was closed here has committed.
    func noteManifest(of volume: Volume) throws {
        let number = volume.state.withLock { $0.releasedNumber ?? $0.manifestNumber }
        try marks.observe(.manifest(volume.id), number, since: HighWaterMarks())
    }

    /// Marks that are not saved only guard less.
    func saveMarks() async {
        do { if let number = catalog.lastSeen?.number { try marks.observe(.catalog, number) } } catch {
            log.warning("\(error)")
        }
        do { try await marks.save() } catch { log.warning("the high-water marks were not saved: \(error)") }
    }

    /// Stops at once, as a crash would, but in order: the journals keep what is not in the bucket.
    public func abandon() async {
        for volume in await takeOpenVolumes() { await volume.abandon() }
    }

    private func takeOpenVolumes() async -> [Volume] {
        let openings = openVolumes.withLock { open in
            open.isClosed = true
            defer { open.openings = [:] }
            return Array(open.openings.values)
        }
        var volumes: [Volume] = []
        for opening in openings {
            // An opening that failed has nothing to close.
            if case .success(let volume) = await opening.result { volumes.append(volume) }
        }
        return volumes
    }
}

/// Which volumes are open for writing here.
struct OpenVolumes {
    var openings: [VolumeID: Task<Volume, any Error>] = [:]
    /// The data key that was current when the opening began: everything sealed for it is under that one or a newer one.
    var openedUnder: [VolumeID: DataKeyID] = [:]
    /// Connections to snapshots.
    var attachedSnapshots: [SnapshotID: Int] = [:]
    /// Being deleted or rolled back: not to be opened meanwhile.
    var reserved: Set<VolumeID> = []
    /// Being opened, so that a journal may be about to become the owner's.
    var underWay: Set<VolumeID> = []
    /// A left journal is being dropped: not to be opened meanwhile.
    var dropping: Set<VolumeID> = []
    /// Volumes that may still be taken over: once each, or two servers that were both told to would fight for ever.
    var takeOver: Set<String>
    /// Volumes of which lost writes are still to be accepted when they are opened: once each.
    var acceptsLoss: Set<String> = []
    /// Being deleted: not to be attached any more.
    var deletedSnapshots: Set<SnapshotID> = []
    var isClosed = false
}
