import StoreCore
import Synchronization

extension DiskCache {
    /// Takes a region of an earlier process into the index, or removes it.
    func load(_ name: String) async {
        guard let number = UInt64(name.dropFirst(RegionFormat.namePrefix.count), radix: 16),
            path(number).hasSuffix(name)
        else { return }
        index.withLock { $0.lastNumber = max($0.lastNumber, number) }
        do {
            let file = try await disk.open(path(number))
            guard let entries = try await RegionFormat.entries(of: file, byteCount: file.byteCount) else {
                return await removeFile(number)
            }
            index.withLock { index in
                index.regions.append(DiskCacheIndex.Region(number: number, file: file, byteCount: file.byteCount))
                for entry in entries {
                    index.slots[entry.fingerprint] = DiskCacheIndex.Slot(
                        region: number, position: entry.position, byteCount: entry.byteCount)
                }
            }
        } catch {
            index.withLock { $0.counts.errors += 1 }
            await removeFile(number)
        }
    }

    /// The oldest region, where the bounds leave no room for `bytes` more.
    func overfull(adding bytes: Int = 0) -> DiskCacheIndex.Region? {
        index.withLock { index in
            let isOver = index.byteCount + bytes > Int(bytesMax) || index.slots.count > framesMax
            return isOver ? index.regions.first : nil
        }
    }

    /// Removes a region. What was read since it was written gets a second life, up to half a region.
    func evict(_ region: DiskCacheIndex.Region, keepingUsed: Bool = true) async {
        var entries: [RegionFormat.Entry]?
        do { entries = try await RegionFormat.entries(of: region.file, byteCount: region.byteCount) } catch {
            index.withLock { $0.counts.errors += 1 }
        }
        let used = index.withLock { index in
            index.regions.removeAll { $0.number == region.number }
            guard let entries else {
                index.forgetAll(of: region.number)
                return [RegionFormat.Entry]()
            }
            return index.forget(region.number, entries)
        }
        if keepingUsed { await keep(used, of: region) }
        await removeFile(region.number)
    }
    private func keep(_ used: [RegionFormat.Entry], of region: DiskCacheIndex.Region) async {
        var left = min(regionBytes / 2, Self.waitingBytesMax / 2)
        for entry in used.reversed() {
            left -= Int(entry.byteCount)
            guard left >= 0 else { return }
            do {
                let frame = try await region.file.read(at: Int(entry.position), count: Int(entry.byteCount))
                enqueue(entry.fingerprint, frame)
            } catch {
                return index.withLock { $0.counts.errors += 1 }
            }
        }
    }
}
