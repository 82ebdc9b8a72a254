public import Codec
public import ObjectStorage
public import SegmentLog
public import StoreCore
import Synchronization

/// Reads blocks by their place in the log: from memory, from disk, from the store, in that order.
///
/// What misses is fetched in parallel; neighbours join into one GET, and equal misses of any number of readers share
/// one fetch. A fetch belongs to nobody: a reader that goes away does not end it for the others. A failure reaches
/// all who wait for that record, and the next reader tries again. Any thread may use it.
public final class RecordFetcher: Sendable {
    /// Blocks wanted: `blocks` blocks from `location` on, to go to `bufferOffset` bytes of a buffer. They lie in one
    /// record.
    public typealias Wanted = (location: BlockLocation, blocks: Int, bufferOffset: Int)

    public let memory: RecordCache
    public let disk: DiskCache?
    let store: any ObjectStore
    let opener: RecordOpener
    let limits: FetchLimits
    let relocations: RelocationMemory
    let flights = FlightTable()
    let readSlots: FetchSlots
    let prefetchSlots: FetchSlots
    let counts = Mutex(FetchStatistics())

    /// - Parameter relocation: where the records of a segment that is gone went; nil where nobody knows.
    public init(
        store: any ObjectStore, keys: KeyRing, memory: RecordCache, disk: DiskCache?,
        relocation: @escaping @Sendable (SegmentReference) async throws -> Relocation?,
        limits: FetchLimits = FetchLimits()
    ) {
        self.store = store
        self.memory = memory
        self.disk = disk
        self.limits = limits
        opener = RecordOpener(keys: keys)
        relocations = RelocationMemory(countMax: limits.relocationsMax, lookUp: relocation)
        readSlots = FetchSlots(limits.getsInFlightMax)
        prefetchSlots = FetchSlots(limits.getsInFlightMax)
    }

    public var statistics: FetchStatistics { counts.withLock { $0 } }

    /// Fills the parts of `buffer`. Throws `notFound` when a segment is gone and nobody knows where its records went
    /// (the caller looks again with the current map), `corrupt` naming object and position, `unavailable`. After an
    /// error the buffer's bytes mean nothing.
    public func read(_ wanted: [Wanted], into buffer: IOBuffer) async throws {
        var waits: [(Int, Flight)] = []
        var owned: [RecordFetch] = []
        for (index, want) in wanted.enumerated() where !copyFromMemory(want, buffer) {
            waits.append((index, join(want, reading: true, &owned)))
        }
        start(owned, slots: readSlots)
        for (index, flight) in waits {
            let record = try await flight.value()
            try copy(record, wanted[index], to: buffer)
        }
    }

    /// Brings records into the caches; returns when they are there or could not be brought. An optimisation: errors
    /// count in the statistics and go nowhere.
    public func prefetch(_ wanted: [Wanted]) async {
        var owned: [RecordFetch] = []
        for want in wanted where memory.find(RecordKey(want.location.segment, want.location.record)) == nil {
            _ = join(want, reading: false, &owned)
        }
        guard !owned.isEmpty else { return }
        let started = UInt64(owned.count)
        counts.withLock { $0.prefetched += started }
        await fetch(owned, slots: prefetchSlots)
    }

    private func copyFromMemory(_ want: Wanted, _ buffer: IOBuffer) -> Bool {
        let key = RecordKey(want.location.segment, want.location.record)
        let block = Int(want.location.blockOffset)
        guard let record = memory.find(key), record.contains(block, want.blocks) else { return false }
        buffer.withMutableBytes { record.copy(block, to: part(want, of: $0)) }
        return true
    }
    private func copy(_ record: CachedRecord, _ want: Wanted, to buffer: IOBuffer) throws {
        let block = Int(want.location.blockOffset)
        guard record.contains(block, want.blocks) else {
            throw StorageError.corrupt(
                want.location.segment.description, at: UInt64(want.location.record.position),
                "the map names blocks that the record does not hold")
        }
        buffer.withMutableBytes { record.copy(block, to: part(want, of: $0)) }
    }
    private func part(_ want: Wanted, of buffer: UnsafeMutableRawBufferPointer) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(
            rebasing: buffer[want.bufferOffset..<want.bufferOffset + want.blocks * blockBytes])
    }

    private func join(_ want: Wanted, reading: Bool, _ owned: inout [RecordFetch]) -> Flight {
        let location = want.location
        let key = RecordKey(location.segment, location.record)
        let (flight, isNew) = flights.join(key)
        guard isNew else {
            if reading { counts.withLock { $0.shared += 1 } }
            return flight
        }
        owned.append(
            RecordFetch(
                key: key, flight: flight, segment: location.segment, record: location.record,
                blocksRead: reading ? RecordCache.mask(Int(location.blockOffset), want.blocks) : 0))
        return flight
    }
    private func start(_ owned: [RecordFetch], slots: FetchSlots) {
        guard !owned.isEmpty else { return }
        Task { await fetch(owned, slots: slots) }
    }
}

/// A record on its way, and where it is looked for now.
struct RecordFetch: Sendable {
    let key: RecordKey
    let flight: Flight
    var segment: SegmentReference
    var record: RecordLocation
    /// Of what was asked for, where the record at the present place begins.
    var firstBlock = 0
    /// Blocks whose first reading this is.
    var blocksRead: UInt32
    var moves = 0

    /// The same record at its next place.
    func moved(to place: Relocation.Place) -> Self {
        var copy = self
        copy.segment = place.segment
        copy.record = place.record
        copy.firstBlock -= place.blockOffsetDelta
        copy.moves += 1
        return copy
    }
    func error(_ code: ErrorCode, _ what: String) -> StorageError {
        if code == .corrupt { return .corrupt(segment.description, at: UInt64(record.position), what) }
        return StorageError(code, "object \(segment): \(what)")
    }
}
