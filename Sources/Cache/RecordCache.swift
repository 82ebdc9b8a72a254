public import SegmentLog
import StoreCore
import Synchronization

/// The memory tier: decoded records, keyed by their place in a segment. Scan-resistant, bounded in bytes; any thread
/// may use it. Split into shards, each with a lock that is held for a lookup, never for a copy.
public final class RecordCache: Sendable {
    private struct State {
        var order: S3FIFO<CachedRecord>
        var hits: UInt64 = 0
        var misses: UInt64 = 0
    }
    private final class Shard: Sendable {
        /// Guards the order of eviction and the counts.
        let state: Mutex<State>
        init(bytes: Int) {
            state = Mutex(
                State(order: S3FIFO(weightMax: bytes, ghostsMax: bytes / (4 * blockBytes))))
        }
    }
    private static let shardsMax = 16
    private static let shardBytesMin = 4 << 20
    /// What an entry takes beside its bytes, about: the array's header, the slot, the dictionary's part.
    static let entryOverheadBytes = 160

    public let bytesMax: Int
    private let shards: [Shard]

    /// - Parameter bytes: of decoded blocks and their bookkeeping; 0 keeps nothing.
    public init(bytes: Int) {
        bytesMax = bytes
        var count = 1
        while count < Self.shardsMax, bytes / (count * 2) >= Self.shardBytesMin { count *= 2 }
        shards = (0..<count).map { _ in Shard(bytes: bytes / count) }
    }

    /// Copies `blocks` blocks from `location` on; false where they are not in memory. `target` has exactly their size.
    public func copyNow(_ location: BlockLocation, blocks: Int, into target: UnsafeMutableRawBufferPointer) -> Bool {
        precondition(target.count == blocks * blockBytes, "the target has the size of the blocks")
        let key = RecordKey(location.segment, location.record)
        let block = Int(location.blockOffset)
        let mask = Self.mask(block, blocks)
        let found = shard(key).state.withLock { state -> CachedRecord? in
            guard let record = state.order.find(key, reading: mask), record.contains(block, blocks) else {
                state.misses += 1
                return nil
            }
            state.hits += 1
            return record
        }
        guard let found else { return false }
        found.copy(block, to: target)
        return true
    }

    /// Keeps a record's blocks.
    /// - Parameter firstBlock: of the record, where `bytes` begins.
    public func insert(_ segment: SegmentReference, _ record: RecordLocation, _ bytes: [UInt8], firstBlock: Int = 0) {
        insert(RecordKey(segment, record), CachedRecord(firstBlock: firstBlock, bytes: bytes), reading: 0)
    }
    func insert(_ key: RecordKey, _ record: CachedRecord, reading blocks: UInt32) {
        let weight = record.bytes.count + Self.entryOverheadBytes
        let evicted = shard(key).state.withLock { $0.order.insert(key, record, weight: weight, reading: blocks) }
        _ = consume evicted
    }
    /// Not counted as a use, a hit or a miss.
    func find(_ key: RecordKey) -> CachedRecord? { shard(key).state.withLock { $0.order.find(key, reading: 0) } }

    static func mask(_ block: Int, _ count: Int) -> UInt32 {
        let bits = count >= 32 ? UInt64(UInt32.max) : (1 << UInt64(count)) - 1
        return UInt32(truncatingIfNeeded: bits << UInt64(block & 31))
    }
    private func shard(_ key: RecordKey) -> Shard {
        // Bits of the hash that the shard's dictionary does not lean on.
        shards[Int(truncatingIfNeeded: key.fingerprint >> 57) & (shards.count - 1)]
    }

    public var statistics: RecordCacheStatistics {
        shards.reduce(into: RecordCacheStatistics(bytesMax: bytesMax)) { sum, shard in
            shard.state.withLock { state in
                sum.hits += state.hits
                sum.misses += state.misses
                sum.records += state.order.count
                sum.bytes += state.order.weight
            }
        }
    }
}
