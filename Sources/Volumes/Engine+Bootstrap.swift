import BlockMap
import Cache
import Cleaner
public import Codec
public import Logging
public import ObjectStorage
import Snapshots
public import StoreCore
import Uploader

/// Making a store and opening one.
extension Engine {
    private static func superblocks(_ store: any ObjectStore) -> NumberedObjects {
        NumberedObjects(prefix: SuperblockLog.prefix, store: store)
    }

    /// Makes a store: probes what the object store can do, then writes superblock and an empty catalog.
    ///
    /// Throws `alreadyExists` where there is one, `unsupported` where conditional creation is not honoured.
    public static func initialize(store: any ObjectStore, unlock: Unlock, machine: Machine = .system) async throws {
        guard try await superblocks(store).newestNumber() == nil else { throw exists(store) }
        try await StoreProbe.check(store)
        let now = machine.time.now()
        let (superblock, _) = try await machine.workers.run { try Superblock.create(unlock: unlock, created: now) }
        guard try await superblocks(store).create(1, superblock.encode()) == .created else { throw exists(store) }
        // Who was held up may win a number that another store has reached, passed and deleted.
        let newest = try await SuperblockLog(store: store, workers: machine.workers).newest()
        guard newest.storeID == superblock.storeID else {
            try await store.delete([superblocks(store).key(1)])
            throw exists(store)
        }
    }
    private static func exists(_ store: any ObjectStore) -> StorageError {
        StorageError(.alreadyExists, "\(store.location) holds a zerofs store already: choose another place")
    }

    /// Opens a store. Claims nothing.
    ///
    /// - Parameter unlockAgain: opens it after its keys were changed elsewhere; nil keeps `unlock` for that.
    /// Throws `notFound` where there is none, `denied` for the wrong passphrase or key file, `unsupported` for a store
    /// of a newer format.
    public static func open(
        store: any ObjectStore, unlock: Unlock, unlockAgain: UnlockSource? = nil, settings: EngineSettings,
        machine: Machine = .system, log: Logger
    ) async throws -> Engine {
        do {
            return try await openTrusted(
                store: store, unlock: unlock, unlockAgain: unlockAgain, settings: settings, machine: machine, log: log)
        } catch {
            if error.saysRolledBack { log.event(.storeRolledBack, "the store cannot be opened: \(error)") }
            throw error
        }
    }

    private static func openTrusted(
        store: any ObjectStore, unlock: Unlock, unlockAgain: UnlockSource?, settings: EngineSettings,
        machine: Machine, log: Logger
    ) async throws -> Engine {
        let superblocks = SuperblockLog(store: store, workers: machine.workers)
        let opened = try await superblocks.open(unlock)
        let marks = try await marks(in: settings.dataDirectory, machine)
        try marks.observe(.superblock, opened.number)
        let keys = StoreKeys(
            opened: opened, superblocks: superblocks, unlock: unlockAgain ?? { unlock }, marks: marks, log: log)
        let learning = KeyLearningStore(base: store, keys: keys)
        var context = try await makeContext(
            store: learning, keys: keys.ring, settings: settings, machine: machine, log: log)
        context.refreshKeys = { try await keys.refresh() }
        let engine = Engine(
            store: learning, storeKeys: keys, settings: settings, context: context, marks: marks, log: log)
        try marks.observe(.catalog, try await engine.catalog.newest().number)
        await engine.saveMarks()
        return engine
    }

    static func marks(in dataDirectory: String, _ machine: Machine) async throws -> HighWaterFile {
        try await HighWaterFile.open(path: dataDirectory + "/high-water", disk: machine.disk)
    }

    private static func makeContext(
        store: any ObjectStore, keys: KeyRing, settings: EngineSettings, machine: Machine, log: Logger
    ) async throws -> VolumeContext {
        let records = RecordCache(bytes: settings.memoryCacheBytes)
        let disk =
            settings.diskCacheBytes > 0
            ? try await DiskCache(
                directory: settings.dataDirectory + "/cache", bytesMax: settings.diskCacheBytes, disk: machine.cacheDisk
            ) : nil
        let relocations = RelocationLog(store: store, keys: keys)
        return VolumeContext(
            store: store, keys: keys, time: machine.time, slots: UploadSlots(inFlightMax: settings.uploadsInFlightMax),
            maps: MapReader(store: store, keys: keys, pages: PageCache(bytes: settings.mapCacheBytes)),
            fetcher: RecordFetcher(
                store: store, keys: keys, memory: records, disk: disk,
                relocation: { try await relocations.relocation(of: $0) }),
            records: records, relocations: relocations, workers: machine.workers,
            disk: machine.disk, journalDirectory: settings.dataDirectory + "/journal", host: machine.host, log: log)
    }
}
