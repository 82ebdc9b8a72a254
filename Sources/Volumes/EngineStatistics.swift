import StoreCore

/// What a running engine is doing. Bytes are bytes, times seconds.
public struct EngineStatistics: Codable, Sendable, Equatable {
    public struct Cache: Codable, Sendable, Equatable {
        public var hits: UInt64
        public var misses: UInt64
        public var bytes: UInt64
        public var bytesMax: UInt64
    }
    public struct OpenVolume: Codable, Sendable, Equatable {
        public var name: String
        public var epoch: UInt64
        public var attachedCount: Int
        /// Written data that is not yet in the store, and its limit.
        public var writeBufferBytes: UInt64
        public var writeBufferBytesMax: UInt64
        public var uploadsWaiting: UInt64
        public var uploadsInFlight: Int
        /// Age of the oldest upload that is not yet durable.
        public var uploadLagSeconds: Double
        public var journalBytes: UInt64
        public var journalBytesMax: UInt64
        public var journalSyncs: UInt64
        public var level0Runs: Int
        public var manifestNumber: UInt64
        /// Why it serves no more; nil while it is sound.
        public var failure: String?
    }
    public var volumes: [OpenVolume]
    public var memoryCache: Cache
    public var diskCache: Cache?
    /// Ranged GETs for reads that no cache could answer.
    public var recordFetches: UInt64
}
