import StoreCore
import Synchronization

/// The writer: one task at a time, while there is something to write.
extension DiskCache {
    func write() async {
        while let frames = nextFrames() {
            for (fingerprint, frame) in frames {
                do {
                    try await append(fingerprint, frame)
                } catch {
                    await abandonActive()
                }
            }
        }
    }
    private func nextFrames() -> [(fingerprint: UInt64, frame: [UInt8])]? {
        let (frames, waiters) = index.withLock { index in
            let frames = index.takeWaiting()
            guard frames.isEmpty else { return (frames, [CheckedContinuation<Void, Never>]()) }
            index.isWriting = false
            defer { index.idleWaiters = [] }
            return ([], index.idleWaiters)
        }
        for waiter in waiters { waiter.resume() }
        return frames.isEmpty ? nil : frames
    }

    /// Found again only after it was written.
    private func append(_ fingerprint: UInt64, _ frame: [UInt8]) async throws {
        let region = try await activeRegion(for: frame.count)
        let position = region.byteCount
        try await region.file.write(frame, at: position)
        let entry = RegionFormat.Entry(
            fingerprint: fingerprint, position: UInt32(position), byteCount: UInt32(frame.count))
        index.withLock { index in
            index.active?.byteCount = position + frame.count
            index.entries.append(entry)
            index.slots[fingerprint] = DiskCacheIndex.Slot(
                region: region.number, position: entry.position, byteCount: entry.byteCount)
            index.counts.bytesWritten += UInt64(frame.count)
        }
    }

    private func activeRegion(for bytes: Int) async throws -> DiskCacheIndex.Region {
        let (active, entries) = index.withLock { ($0.active, $0.entries.count) }
        let directoryBytes = (entries + 1) * RegionFormat.entryBytes + RegionFormat.footerBytes
        if let active, active.byteCount + bytes + directoryBytes <= regionBytes { return active }
        await sealActive()
        // Room for a whole region before it is begun.
        while let victim = overfull(adding: regionBytes) { await evict(victim) }
        let number = index.withLock { index in
            index.lastNumber += 1
            return index.lastNumber
        }
        let file = try await disk.createScratch(path(number))
        let region = DiskCacheIndex.Region(number: number, file: file, byteCount: 0)
        index.withLock { index in
            index.active = region
            index.entries = []
        }
        return region
    }

    /// Writes the directory of the region being filled, which lets it survive a restart.
    func sealActive() async {
        guard let (region, entries) = index.withLock({ index in index.active.map { ($0, index.entries) } }) else {
            return
        }
        do {
            let directory = RegionFormat.directory(entries, at: region.byteCount)
            try await region.file.write(directory, at: region.byteCount)
            index.withLock { index in
                var sealed = region
                sealed.byteCount += directory.count
                index.regions.append(sealed)
                index.active = nil
                index.entries = []
            }
        } catch {
            await abandonActive()
        }
    }

    /// After a failed write (the disk is full or broken): gives up what the region holds, and room besides.
    private func abandonActive() async {
        let (number, victim) = index.withLock { index in
            index.counts.errors += 1
            let number = index.active?.number
            if let number { index.forgetAll(of: number) }
            index.active = nil
            index.entries = []
            return (number, index.regions.first)
        }
        if let number { await removeFile(number) }
        if let victim { await evict(victim, keepingUsed: false) }
    }

    func path(_ number: UInt64) -> String { "\(directory)/\(RegionFormat.namePrefix)\(number.hex)" }
    func removeFile(_ number: UInt64) async {
        do { try await disk.remove(path(number)) } catch { index.withLock { $0.counts.errors += 1 } }
    }
}
