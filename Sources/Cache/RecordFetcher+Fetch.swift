import ObjectStorage
import SegmentLog
import StoreCore
import Synchronization

/// The way of a fetch through the tiers. Each `RecordFetch` that enters is ended exactly once.
extension RecordFetcher {
    /// How often a record may have moved since its map was written.
    private static let movesMax = 16
    /// Records opened by one task: of a large GET, several cores take their part.
    private static let recordsPerTask = 16

    func fetch(_ owned: [RecordFetch], slots: FetchSlots) async {
        // Another fetch may have ended between the caller's look into memory and its entry here.
        let missing = owned.filter { fetch in
            guard let record = memory.find(fetch.key) else { return true }
            flights.finish(fetch.key, fetch.flight, .success(record))
            return false
        }
        await fetchFromStore(await fetchFromDisk(missing), slots: slots)
    }

    /// Ends what the disk has; returns the rest.
    private func fetchFromDisk(_ fetches: [RecordFetch]) async -> [RecordFetch] {
        guard let disk else { return fetches }
        var there: [RecordFetch] = []
        var absent: [RecordFetch] = []
        for fetch in fetches {
            if disk.contains(fetch.key) { there.append(fetch) } else { absent.append(fetch) }
        }
        guard !there.isEmpty else { return absent }
        return await withTaskGroup(of: RecordFetch?.self) { group in
            for fetch in there { group.addTask { await self.readFromDisk(fetch, disk) ? nil : fetch } }
            return await group.reduce(into: absent) { rest, fetch in if let fetch { rest.append(fetch) } }
        }
    }
    private func readFromDisk(_ fetch: RecordFetch, _ disk: DiskCache) async -> Bool {
        guard let frame = await disk.read(fetch.key) else { return false }
        do {
            let blocks = try opener.open(frame[...], fetch.record, of: fetch.segment)
            counts.withLock { $0.fromDisk += 1 }
            deliver(fetch, blocks)
            return true
        } catch {
            // Lost, truncated or swapped on disk: the store has it.
            disk.forgetCorrupt(fetch.key)
            return false
        }
    }

    private func fetchFromStore(_ fetches: [RecordFetch], slots: FetchSlots) async {
        guard !fetches.isEmpty else { return }
        let fetches = fetches.map(followingKnownMoves)
        let plan = FetchPlan(fetches.map { ($0.segment, $0.record) }, limits: limits)
        if plan.gets.count == 1, let only = plan.gets.first {
            return await perform(only, only.members.map { fetches[$0] }, slots: slots)
        }
        await withTaskGroup(of: Void.self) { group in
            for get in plan.gets {
                group.addTask { await self.perform(get, get.members.map { fetches[$0] }, slots: slots) }
            }
        }
    }

    private func perform(_ get: FetchPlan.Get, _ fetches: [RecordFetch], slots: FetchSlots) async {
        do {
            let bytes = try await slots.withSlot { try await store.get(get.segment.id.key, range: get.range) }
            counts.withLock { counts in
                counts.gets += 1
                counts.bytesFetched += UInt64(bytes.count)
            }
            await open(fetches, in: bytes, from: get.range.lowerBound)
        } catch where error.storageCode == .notFound {
            await relocate(fetches, from: get.segment, slots: slots)
        } catch where error.storageCode == .invalid {
            // The store's word for a range beyond the object's end.
            for fetch in fetches { fail(fetch, fetch.error(.corrupt, "the object ends before this record (\(error))")) }
        } catch {
            for fetch in fetches { fail(fetch, error) }
        }
    }

    private func open(_ fetches: [RecordFetch], in bytes: [UInt8], from start: UInt64) async {
        if fetches.count <= Self.recordsPerTask { return openPart(fetches[...], in: bytes, from: start) }
        await withTaskGroup(of: Void.self) { group in
            for first in stride(from: 0, to: fetches.count, by: Self.recordsPerTask) {
                let part = fetches[first..<min(first + Self.recordsPerTask, fetches.count)]
                group.addTask { self.openPart(part, in: bytes, from: start) }
            }
        }
    }
    private func openPart(_ fetches: ArraySlice<RecordFetch>, in bytes: [UInt8], from start: UInt64) {
        for fetch in fetches {
            let from = Int(UInt64(fetch.record.position) - start)
            let to = from + Int(fetch.record.byteCount)
            guard to <= bytes.count else {
                fail(fetch, fetch.error(.corrupt, "the object ends \(to - bytes.count) bytes before this record does"))
                continue
            }
            do {
                let blocks = try opener.open(bytes[from..<to], fetch.record, of: fetch.segment)
                counts.withLock { $0.fromStore += 1 }
                // Under the key that was asked for, and only where the frame opens as the record that the key names.
                if fetch.moves == 0 { disk?.insert(fetch.key, Array(bytes[from..<to])) }
                deliver(fetch, blocks)
            } catch {
                fail(fetch, error)
            }
        }
    }

    private func relocate(_ fetches: [RecordFetch], from segment: SegmentReference, slots: FetchSlots) async {
        let relocation: Relocation?
        do {
            relocation = try await relocations.find(segment)
        } catch {
            for fetch in fetches { fail(fetch, error) }
            return
        }
        guard let relocation else {
            for fetch in fetches { fail(fetch, fetch.error(.notFound, "it is gone, and no record says where to")) }
            return
        }
        var moved: [RecordFetch] = []
        for fetch in fetches {
            if fetch.moves >= Self.movesMax {
                fail(fetch, fetch.error(.corrupt, "its records moved in a circle"))
            } else if let place = relocation.places[fetch.record.position] {
                moved.append(fetch.moved(to: place))
            } else {
                fail(fetch, fetch.error(.notFound, "it was repacked, without the record at \(fetch.record.position)"))
            }
        }
        let count = UInt64(moved.count)
        counts.withLock { $0.relocated += count }
        await fetchFromStore(moved, slots: slots)
    }
    /// Saves a GET that is known to fail.
    private func followingKnownMoves(_ fetch: RecordFetch) -> RecordFetch {
        var fetch = fetch
        while fetch.moves < Self.movesMax, let place = relocations.known(fetch.segment)?.places[fetch.record.position] {
            fetch = fetch.moved(to: place)
        }
        return fetch
    }

    private func deliver(_ fetch: RecordFetch, _ blocks: [UInt8]) {
        let record = CachedRecord(firstBlock: fetch.firstBlock, bytes: blocks)
        memory.insert(fetch.key, record, reading: fetch.blocksRead)
        flights.finish(fetch.key, fetch.flight, .success(record))
    }
    private func fail(_ fetch: RecordFetch, _ error: any Error) {
        counts.withLock { $0.errors += 1 }
        flights.finish(fetch.key, fetch.flight, .failure(error))
    }
}
