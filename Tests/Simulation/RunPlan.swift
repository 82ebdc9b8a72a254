import BlockMap
import StoreCore
import Volumes

/// What a seed decides before its run begins.
struct RunPlan: Sendable {
    var hostCount: Int
    var volumeCount: Int
    var clientCount: Int
    /// How many give commands at once: gc beside gc, a snapshot beside a deletion, on whatever server.
    var operatorCount: Int
    /// Virtual time that clients, commands and faults have.
    var duration: UInt64
    var durability: Durability
    var faults: StoreFaults
    var diskFaults: DiskFaults
    /// Reads may come back damaged, so that `corrupt` is an answer that may be given.
    var damagesReads: Bool
    /// Servers may be told to take volumes over from each other.
    var hasRivals: Bool
    /// What goes wrong beside the faults, per minute.
    var incidentsPerMinute: Double
    var volume: VolumeSettings
    var diskCacheBytes: UInt64
    /// Nil where clients use the engine's devices themselves.
    var nbd: NBDPlan?

    init(_ random: inout SplitMix64) {
        func any(_ count: UInt64) -> Int { Int(random.next() % count) }
        hostCount = [1, 1, 2, 2, 3][any(5)]
        volumeCount = 1 + any(3)
        clientCount = 1 + any(3)
        duration = UInt64(10 + any(50)) * 1_000_000_000
        durability = any(2) == 0 ? .store : .journal
        faults = [StoreFaults(), .all(0.005), .all(0.02), .all(0.06)][any(4)]
        faults.latencyMax = [2_000_000, 20_000_000, 300_000_000][any(3)]
        diskFaults = DiskFaults()
        if any(6) == 0 { diskFaults.syncFails = 0.02 }
        if any(4) == 0 { diskFaults.syncIsSlow = 0.05 }
        if any(8) == 0 { diskFaults.capacity = (1 << 20) + any(2 << 20) }
        damagesReads = any(10) == 0
        if damagesReads { (faults.corruptsBody, faults.shortensBody) = (0.01, 0.01) }
        hasRivals = hostCount > 1 && any(4) != 0
        incidentsPerMinute = [0, 4, 12, 30][any(4)]
        volume = VolumeSettings()
        volume.durability = durability
        volume.segmentBytes = (16 << 10) << any(5)
        volume.writeBufferBytes = volume.segmentBytes * (4 + any(8))
        volume.checkpointSegments = 2 + any(12)
        volume.flushesInFlightMax = 1 + any(4)
        volume.journalFileBytes = (128 << 10) << any(2)
        volume.journalBytes = UInt64(volume.journalFileBytes * (2 + any(6)))
        volume.recordBlocks = 1 + any(8)
        volume.isJournaled = durability == .journal || any(4) != 0
        volume.compaction.level0RunsMax = 2 + any(3)
        volume.compaction.level1BytesMax = 4096
        volume.compaction.smallRunBytes = 2048
        if any(4) == 0 { volume.storeDeadline = .seconds(20) }
        diskCacheBytes = any(3) == 0 ? 4 << 20 : 0
        operatorCount = 1 + any(3)
        faults.tearsLists = [0, 0.1, 0.5][any(3)]
        if any(3) == 0 { faults.listPageMax = 2 + any(30) }
    }
}
