import StoreCore

/// What the disk cache has in memory: where each frame lies, and what waits to be written. Pure; bounded by the
/// number of frames (about 45 bytes each) and of waiting bytes.
struct DiskCacheIndex {
    struct Slot {
        var region: UInt64
        var position: UInt32
        var byteCount: UInt32
        /// Read since it was written: it is worth keeping when its region goes.
        var isUsed = false
    }
    struct Region {
        let number: UInt64
        let file: any LocalFile
        /// Bytes on disk, directory included.
        var byteCount: Int
    }

    var slots: [UInt64: Slot] = [:]
    /// Sealed, oldest first.
    var regions: [Region] = []
    var active: Region?
    /// Of the active region.
    var entries: [RegionFormat.Entry] = []
    var lastNumber: UInt64 = 0

    private(set) var waiting: [(fingerprint: UInt64, frame: [UInt8])] = []
    private(set) var waitingBytes = 0
    private var waitingNames: Set<UInt64> = []
    var isWriting = false
    var isClosed = false
    var idleWaiters: [CheckedContinuation<Void, Never>] = []
    var counts = DiskCacheStatistics()

    var byteCount: Int { regions.reduce(active?.byteCount ?? 0) { $0 + $1.byteCount } }

    func region(_ number: UInt64) -> Region? {
        if let active, active.number == number { return active }
        // Ascending, and without gaps for the most part.
        var low = 0
        var high = regions.count
        while low < high {
            let middle = (low + high) / 2
            if regions[middle].number < number { low = middle + 1 } else { high = middle }
        }
        return low < regions.count && regions[low].number == number ? regions[low] : nil
    }

    /// True when the caller must start the writer.
    mutating func enqueue(_ fingerprint: UInt64, _ frame: [UInt8], waitingBytesMax: Int) -> Bool {
        guard !isClosed, slots[fingerprint] == nil, !waitingNames.contains(fingerprint) else { return false }
        guard waitingBytes + frame.count <= waitingBytesMax else {
            counts.dropped += 1
            return false
        }
        waiting.append((fingerprint, frame))
        waitingNames.insert(fingerprint)
        waitingBytes += frame.count
        defer { isWriting = true }
        return !isWriting
    }
    mutating func takeWaiting() -> [(fingerprint: UInt64, frame: [UInt8])] {
        defer {
            waiting = []
            waitingNames = []
            waitingBytes = 0
        }
        return waiting
    }
    /// Forgets a region's frames that still lie there; returns those that were read meanwhile.
    mutating func forget(_ region: UInt64, _ entries: [RegionFormat.Entry]) -> [RegionFormat.Entry] {
        entries.filter { entry in
            guard let slot = slots[entry.fingerprint], slot.region == region else { return false }
            slots.removeValue(forKey: entry.fingerprint)
            return slot.isUsed
        }
    }
    mutating func forgetAll(of region: UInt64) { slots = slots.filter { $0.value.region != region } }
}
