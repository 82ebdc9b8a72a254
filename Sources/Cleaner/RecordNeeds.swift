import BlockMap
import ObjectStorage
import SegmentLog
import StoreCore

/// Which records of the segments under scrutiny some reachable version needs.
///
/// What a newer run of the same version hides is not needed: it can never be seen again. Memory is bounded: what is
/// mostly live is dropped as soon as that is known, and then whatever needs most.
struct RecordNeeds: Sendable {
    fileprivate struct Slot: Sendable {
        var segment: SegmentReference
        var mustStay: Bool
        /// Sorted and distinct up to `settled`, then as they came.
        var records: [RecordLocation] = []
        var settled = 0
    }
    private var slots: [SegmentID: Slot]
    private let relocations: [SegmentID: RelocationRecord]
    /// Grows only for segments that may not be dropped.
    private var recordsMax: Int
    private let liveShareMax: Double
    private let smallBytes: UInt64
    private var recordCount = 0
    /// As of the last `settle`.
    private var settledCount = 0

    /// - Parameters:
    ///   - candidates: dropped when they turn out to be mostly live.
    ///   - certain: never dropped.
    init(
        candidates: [SegmentReference], certain: [SegmentReference], relocations: [SegmentID: RelocationRecord],
        options: GCOptions
    ) {
        slots = Dictionary(candidates.map { ($0.id, Slot(segment: $0, mustStay: false)) }) { first, _ in first }
        for segment in certain { slots[segment.id] = Slot(segment: segment, mustStay: true) }
        self.relocations = relocations
        recordsMax = options.recordsMax
        liveShareMax = options.policy.liveShareMax
        smallBytes = options.policy.smallBytes
    }

    /// The needed records of a segment, ascending; nil for one that is not, or no longer, looked into.
    func records(of segment: SegmentID) -> [RecordLocation]? { slots[segment]?.records }

    /// Goes through every version. Maps beyond `layoutsMergedMax` count run by run: a little more seems needed then.
    mutating func collect(_ runs: RunSet, _ context: GCContext) async throws {
        guard !slots.isEmpty else { return }
        let merged = runs.layouts.prefix(context.options.layoutsMergedMax)
        let rest = Set(runs.layouts.dropFirst(merged.count).flatMap { $0.levels.joined() })
        let maps = merged.map { runs.map(of: $0) } + rest.sorted().map { MapLayout(levels: [[runs.runs[Int($0)]]]) }
        for (index, map) in maps.enumerated() {
            context.progress("read maps", UInt64(index), UInt64(maps.count))
            try await context.maps.forEachExtent(in: map) { extent in
                guard case .data(let location) = extent.mapping else { return }
                try add(location.segment.id, location.record)
            }
            if recordCount > settledCount + recordsMax / 16 { settle() }
        }
        settle()
    }

    /// Notes a record at its place, and at every place that it has moved to since.
    private mutating func add(_ first: SegmentID, _ record: RecordLocation) throws(StorageError) {
        var (segment, record) = (first, record)
        for _ in 0...RelocationLog.movesMax + 4 {
            note(record, of: segment)
            guard let relocation = relocations[segment], let entry = relocation.entry(at: record.position) else {
                return
            }
            (segment, record) = (relocation.targets[entry.target].id, entry.record)
        }
        // Whatever lies further on would look as if nobody needed it.
        throw .corrupt(first.key.text, "its records were moved more often than they may be")
    }
    private mutating func note(_ record: RecordLocation, of segment: SegmentID) {
        guard let index = slots.index(forKey: segment), slots.values[index].records.last != record else { return }
        slots.values[index].records.append(record)
        recordCount += 1
        if recordCount > recordsMax { settle() }
    }

    /// Removes what was noted twice, then what is no victim, then what does not fit into memory.
    private mutating func settle() {
        for index in slots.values.indices { slots.values[index].settle() }
        for (segment, slot) in slots where !slot.mustStay && slot.segment.byteCount >= smallBytes {
            if Double(slot.liveBytes) > liveShareMax * Double(slot.segment.byteCount) { slots[segment] = nil }
        }
        recordCount = slots.values.reduce(0) { $0 + $1.records.count }
        defer { settledCount = recordCount }
        guard recordCount > recordsMax * 3 / 4 else { return }
        for (segment, slot) in slots.filter({ !$0.value.mustStay }).sorted(by: {
            $0.value.records.count > $1.value.records.count
        }) {
            guard recordCount > recordsMax / 2 else { return }
            recordCount -= slot.records.count
            slots[segment] = nil
        }
        recordsMax = max(recordsMax, recordCount * 2)
    }
}

extension RecordNeeds.Slot {
    fileprivate var liveBytes: UInt64 { records.reduce(0) { $0 + UInt64($1.byteCount) } }

    fileprivate mutating func settle() {
        guard settled < records.count else { return }
        records.sort { $0.position < $1.position }
        var kept = 0
        for index in records.indices where kept == 0 || records[kept - 1] != records[index] {
            records[kept] = records[index]
            kept += 1
        }
        records.removeSubrange(kept...)
        settled = kept
    }
}
