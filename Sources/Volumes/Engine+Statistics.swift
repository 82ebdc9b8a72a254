import BlockMap
import Cache
import Journal
import StoreCore
import Synchronization
import Uploader

extension Engine {
    /// Figures of this moment; asks nothing of the store.
    public func statistics() async -> EngineStatistics {
        var volumes: [EngineStatistics.OpenVolume] = []
        for opening in openVolumes.withLock({ Array($0.openings.values) }) {
            // An opening that failed has no figures.
            if case .success(let volume) = await opening.result { volumes.append(volume.statistics) }
        }
        let memory = context.records.statistics
        let disk = context.fetcher.disk?.statistics
        return EngineStatistics(
            volumes: volumes.sorted { $0.name < $1.name },
            memoryCache: .init(
                hits: memory.hits, misses: memory.misses, bytes: UInt64(memory.bytes), bytesMax: UInt64(memory.bytesMax)
            ),
            diskCache: disk.map { .init(hits: $0.hits, misses: $0.misses, bytes: $0.bytes, bytesMax: $0.bytesMax) },
            recordFetches: context.fetcher.statistics.gets)
    }
}

extension Volume {
    var statistics: EngineStatistics.OpenVolume {
        let uploads = uploader.status
        let journaled = journal?.status
        return state.withLock { state in
            EngineStatistics.OpenVolume(
                name: name, epoch: epoch.value, attachedCount: state.attachedCount,
                writeBufferBytes: UInt64(state.bufferedBytes), writeBufferBytesMax: UInt64(settings.writeBufferBytes),
                uploadsWaiting: uploads.uploadsWaiting, uploadsInFlight: uploads.inFlight,
                uploadLagSeconds: Double(uploads.lag.nanosecondCount) / 1e9,
                journalBytes: journaled.map { $0.bytesUnreleased } ?? 0,
                journalBytesMax: journaled.map { UInt64($0.bytesMax) } ?? 0, journalSyncs: journaled?.syncs ?? 0,
                level0Runs: state.layout.levels.first?.count ?? 0, manifestNumber: state.manifestNumber,
                failure: state.failure.map { "\($0)" })
        }
    }
}
