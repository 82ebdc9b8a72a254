/// A cache's order of eviction: S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP '23).
///
/// New records enter a small queue, a tenth of the room. One that was read again there moves to the main queue; one
/// that was not leaves, and only its fingerprint stays in the ghost queue, so that it enters the main queue if it
/// comes soon again. So a scan passes through the small queue and leaves the main one alone.
///
/// A second read counts only if it reads a block that was read before: reading a record's eight blocks one by one is
/// one pass over it, not eight uses.
struct S3FIFO<Value> {
    let weightMax: Int
    private let smallMax: Int
    private var slots: [RecordKey: Int32] = [:]
    private var slab = S3FIFOSlab<Value>()
    private var small = S3FIFOQueue()
    private var main = S3FIFOQueue()
    private var ghosts: GhostQueue

    /// - Parameter ghostsMax: fingerprints of evicted records that are remembered.
    init(weightMax: Int, ghostsMax: Int) {
        self.weightMax = weightMax
        smallMax = weightMax / 10
        ghosts = GhostQueue(countMax: ghostsMax)
    }

    var count: Int { slots.count }
    var weight: Int { small.weight + main.weight }

    /// The value, and a note that these of its blocks were read.
    mutating func find(_ key: RecordKey, reading blocks: UInt32) -> Value? {
        guard let slot = slots[key] else { return nil }
        if slab[slot].blocksRead & blocks != 0 {
            slab[slot].uses = min(slab[slot].uses + 1, 3)
            slab[slot].blocksRead = blocks
        } else {
            slab[slot].blocksRead |= blocks
        }
        return slab[slot].value
    }

    /// Enters a value or replaces it. One heavier than the whole cache is not kept. Returns what had to go, so that the
    /// caller can free it outside of its lock.
    mutating func insert(_ key: RecordKey, _ value: Value, weight: Int, reading blocks: UInt32) -> [Value] {
        guard weight <= weightMax else { return [] }
        if let slot = slots[key] {
            // The queue's sum keeps the first weight: both are of the same record.
            let old = slab[slot].value
            slab[slot].value = value
            return [old]
        }
        var evicted: [Value] = []
        while self.weight + weight > weightMax { evicted.append(evictOne()) }
        let slot = slab.place(S3FIFOEntry(key: key, value: value, weight: weight, blocksRead: blocks))
        slots[key] = slot
        if ghosts.remove(key.fingerprint) { main.push(slot, in: &slab) } else { small.push(slot, in: &slab) }
        return evicted
    }

    private mutating func evictOne() -> Value {
        while true {
            if small.oldest >= 0, small.weight > smallMax || main.oldest < 0 {
                let slot = small.pop(in: &slab)
                if slab[slot].uses == 0 {
                    ghosts.insert(slab[slot].key.fingerprint)
                    return remove(slot)
                }
                slab[slot].uses = 0
                main.push(slot, in: &slab)
            } else {
                precondition(main.oldest >= 0, "a cache over its weight holds something")
                let slot = main.pop(in: &slab)
                if slab[slot].uses == 0 { return remove(slot) }
                slab[slot].uses -= 1
                main.push(slot, in: &slab)
            }
        }
    }

    private mutating func remove(_ slot: Int32) -> Value {
        let entry = slab.remove(slot)
        slots.removeValue(forKey: entry.key)
        return entry.value
    }
}

struct S3FIFOEntry<Value> {
    let key: RecordKey
    var value: Value
    let weight: Int
    /// Blocks read since it entered or was last counted as used, a bit each.
    var blocksRead: UInt32
    /// Uses that keep it when its turn comes, 0...3.
    var uses: UInt8 = 0
    /// The next younger entry in its queue; -1: none.
    var next: Int32 = -1
}

/// All entries of a cache in one allocation; freed places are used again.
private struct S3FIFOSlab<Value> {
    private var entries: [S3FIFOEntry<Value>?] = []
    private var free: [Int32] = []

    subscript(slot: Int32) -> S3FIFOEntry<Value> {
        get { entries[Int(slot)]! }
        _modify { yield &entries[Int(slot)]! }
    }
    mutating func place(_ entry: S3FIFOEntry<Value>) -> Int32 {
        guard let slot = free.popLast() else {
            entries.append(entry)
            return Int32(entries.count - 1)
        }
        entries[Int(slot)] = entry
        return slot
    }
    mutating func remove(_ slot: Int32) -> S3FIFOEntry<Value> {
        defer {
            entries[Int(slot)] = nil
            free.append(slot)
        }
        return self[slot]
    }
}

/// Oldest first, linked through the entries.
private struct S3FIFOQueue {
    private(set) var oldest: Int32 = -1
    private var youngest: Int32 = -1
    private(set) var weight = 0

    mutating func push<Value>(_ slot: Int32, in slab: inout S3FIFOSlab<Value>) {
        slab[slot].next = -1
        weight += slab[slot].weight
        if youngest >= 0 { slab[youngest].next = slot } else { oldest = slot }
        youngest = slot
    }
    mutating func pop<Value>(in slab: inout S3FIFOSlab<Value>) -> Int32 {
        let slot = oldest
        oldest = slab[slot].next
        if oldest < 0 { youngest = -1 }
        weight -= slab[slot].weight
        return slot
    }
}

/// Fingerprints of what was evicted lately, oldest forgotten first.
struct GhostQueue {
    private let countMax: Int
    private var ring: [UInt64] = []
    private var next = 0
    private var members: Set<UInt64> = []

    init(countMax: Int) { self.countMax = max(countMax, 1) }

    mutating func insert(_ fingerprint: UInt64) {
        members.insert(fingerprint)
        if ring.count < countMax { return ring.append(fingerprint) }
        members.remove(ring[next])
        ring[next] = fingerprint
        members.insert(fingerprint)
        next = (next + 1) % countMax
    }
    /// True where it was there. Its place in the ring stays until it comes round.
    mutating func remove(_ fingerprint: UInt64) -> Bool { members.remove(fingerprint) != nil }
}
