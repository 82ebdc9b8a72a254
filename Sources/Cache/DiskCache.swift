public import StoreCore
import Synchronization

/// The disk tier: frames as they lie in their segments, still sealed, in a directory of their own.
///
/// Nothing depends on it: it may be lost, truncated or corrupted at any time. A frame that does not open counts as a
/// miss and is forgotten. It never syncs.
///
/// Frames are appended to regions; when the room is used up the oldest region goes, and its frames that were read since
/// are written again. A closed cache survives a restart whole; after a crash it has what was in full regions, because
/// the directory of the one being filled is in memory only.
/// Any thread may use it.
public final class DiskCache: Sendable {
    public let directory: String
    public let bytesMax: UInt64
    let regionBytes: Int
    let framesMax: Int
    let disk: any LocalDisk
    /// Guards the index and what waits; never held while the disk works.
    let index = Mutex(DiskCacheIndex())
    /// Frames that wait for the disk; beyond, they are dropped.
    static let waitingBytesMax = 16 << 20
    /// A file for each region stays open.
    private static let regionsMax = 512

    /// Opens the cache of an earlier process, or an empty one. Throws where the directory cannot be made or listed.
    ///
    /// - Parameters:
    ///   - bytesMax: on disk; at least 4 MiB are used.
    ///   - framesMax: bounds the index in memory, 45 bytes for each frame; by default one for each 8 KiB, at most
    ///     16 million.
    public init(
        directory: String, bytesMax: UInt64, framesMax: Int? = nil,
        disk: any LocalDisk = SystemDisk(workerThreads: 8, syncThreads: 1)
    ) async throws {
        let bytes = Int(clamping: max(bytesMax, 4 << 20))
        self.directory = directory
        self.bytesMax = UInt64(bytes)
        self.framesMax = framesMax ?? min(bytes / (8 << 10), 16 << 20)
        self.disk = disk
        regionBytes = min(max(bytes / Self.regionsMax, min(64 << 20, bytes / 8)), 2 << 30)
        try await disk.makeDirectory(directory, isNew: false)
        for name in try await disk.list(directory) where name.hasPrefix(RegionFormat.namePrefix) { await load(name) }
        while let victim = overfull() { await evict(victim) }
    }

    func contains(_ key: RecordKey) -> Bool {
        index.withLock { index in
            if index.slots[key.fingerprint] != nil { return true }
            index.counts.misses += 1
            return false
        }
    }

    /// The frame, unchecked; nil where it is not there or cannot be read.
    func read(_ key: RecordKey) async -> [UInt8]? {
        let place = index.withLock { index -> (DiskCacheIndex.Slot, any LocalFile)? in
            guard let slot = index.slots[key.fingerprint], let region = index.region(slot.region) else { return nil }
            index.slots[key.fingerprint]?.isUsed = true
            return (slot, region.file)
        }
        guard let (slot, file) = place else { return nil }
        do {
            // The region may be evicted meanwhile: its open file stays readable.
            let frame = try await file.read(at: Int(slot.position), count: Int(slot.byteCount))
            index.withLock { index in
                index.counts.hits += 1
                index.counts.bytesRead += UInt64(frame.count)
            }
            return frame
        } catch {
            index.withLock { index in
                index.counts.errors += 1
                index.slots.removeValue(forKey: key.fingerprint)
            }
            return nil
        }
    }

    /// Keeps a frame, some time later, unless the disk cannot follow.
    func insert(_ key: RecordKey, _ frame: [UInt8]) { enqueue(key.fingerprint, frame) }
    func enqueue(_ fingerprint: UInt64, _ frame: [UInt8]) {
        let starts = index.withLock { $0.enqueue(fingerprint, frame, waitingBytesMax: Self.waitingBytesMax) }
        if starts { Task { await write() } }
    }

    /// What was read did not open: forget it.
    func forgetCorrupt(_ key: RecordKey) {
        index.withLock { index in
            index.slots.removeValue(forKey: key.fingerprint)
            index.counts.corruptFrames += 1
        }
    }

    /// Returns when nothing waits to be written.
    public func drain() async {
        await withCheckedContinuation { continuation in
            let isIdle = index.withLock { index in
                if index.isWriting { index.idleWaiters.append(continuation) }
                return !index.isWriting
            }
            if isIdle { continuation.resume() }
        }
    }
    /// Writes what waits and the last region's directory, for the next start. Later frames are not kept.
    public func close() async {
        index.withLock { $0.isClosed = true }
        await drain()
        await sealActive()
    }

    public var statistics: DiskCacheStatistics {
        index.withLock { index in
            var counts = index.counts
            counts.records = index.slots.count
            counts.bytes = UInt64(index.byteCount)
            counts.bytesMax = bytesMax
            return counts
        }
    }
}
