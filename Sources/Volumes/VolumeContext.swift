public import BlockMap
public import Cache
public import Cleaner
public import Codec
public import Logging
public import ObjectStorage
public import StoreCore
public import Uploader

/// What all volumes of a process share.
public struct VolumeContext: Sendable {
    public var store: any ObjectStore
    public var keys: KeyRing
    public var time: any TimeSource
    public var slots: UploadSlots
    public var maps: MapReader
    public var fetcher: RecordFetcher
    public var records: RecordCache
    /// Where the cleaner moved what.
    public var relocations: RelocationLog
    /// Threads that compress and encrypt.
    public var workers: BlockingPool
    public var disk: any LocalDisk
    /// Folder of the journals; nil for a context that opens nothing for writing with a journal.
    public var journalDirectory: String?
    /// Written into claims, for the error that a rival reads.
    public var host: String
    public var log: Logger
    /// Looks for data keys that were added elsewhere.
    public var refreshKeys: @Sendable () async throws -> Void = {}

    public init(
        store: any ObjectStore, keys: KeyRing, time: any TimeSource, slots: UploadSlots, maps: MapReader,
        fetcher: RecordFetcher, records: RecordCache, relocations: RelocationLog, workers: BlockingPool,
        disk: any LocalDisk, journalDirectory: String?, host: String, log: Logger
    ) {
        self.store = store
        self.keys = keys
        self.time = time
        self.slots = slots
        self.maps = maps
        self.fetcher = fetcher
        self.records = records
        self.relocations = relocations
        self.workers = workers
        self.disk = disk
        self.journalDirectory = journalDirectory
        self.host = host
        self.log = log
    }
}
