import BlockMap
import ObjectStorage
import SegmentLog
import StoreCore

/// Every segment that reachable runs name, directly or through relocation records.
struct NamedSegments: Sendable {
    /// By name; holds one reference for each segment, however many runs name it.
    private(set) var references: [SegmentID: SegmentReference] = [:]
    /// The relocation records of the named ones. They and their targets stay.
    private(set) var relocations: [SegmentID: RelocationRecord] = [:]
    /// How many of the records that `follow` found lead from a run to this segment at most; none for those that only
    /// runs name.
    private(set) var moves: [SegmentID: Int] = [:]

    func contains(_ segment: SegmentID) -> Bool { references[segment] != nil }

    /// Reads the segment tables of all runs. A run that cannot be read stops gc.
    mutating func addTables(of runs: [RunReference], _ context: GCContext) async throws {
        var done: UInt64 = 0
        for part in runs.chunked(64) {
            context.progress("read segment tables", done, UInt64(runs.count))
            let tables = try await context.concurrently(part) { run in
                var segments: [SegmentReference] = []
                try await context.maps.forEachSegment(of: run) { segments.append($0.segment) }
                return segments
            }
            for segment in tables.joined() { try add(segment) }
            done += UInt64(part.count)
        }
    }

    /// A name stands for one content for ever; two that differ are damage.
    mutating func add(_ segment: SegmentReference) throws(StorageError) {
        guard let known = references[segment.id] else {
            references[segment.id] = segment
            return
        }
        guard known === segment || known.contentHash == segment.contentHash else {
            throw .corrupt(
                segment.description, "two runs name it with other contents", expected: "\(known.contentHash)",
                actual: "\(segment.contentHash)")
        }
    }

    /// Follows relocation records from the segments that runs name. One that is listed and cannot be read stops gc.
    mutating func follow(_ names: Set<Digest>, _ context: GCContext) async throws {
        guard !names.isEmpty else { return }
        var frontier = Array(references.keys)
        while !frontier.isEmpty {
            let moved = frontier.filter { relocations[$0] == nil && names.contains(RelocationRecord.name(of: $0)) }
            let records = try await context.concurrently(moved) { victim in
                guard let record = try await RelocationLog.record(of: victim, store: context.store, keys: context.keys)
                else { throw GCContext.rival() }
                return record
            }
            frontier = []
            for record in records { frontier += try add(record) }
        }
        try countMoves()
    }

    /// The longest way to each segment: a run may name one of the middle of a chain that begins at another run's.
    private mutating func countMoves() throws(StorageError) {
        for _ in 0..<Self.chainMax {
            var isSettled = true
            for (victim, record) in relocations {
                let count = moves[victim, default: 0] + 1
                for target in record.targets where moves[target.id, default: 0] < count {
                    moves[target.id] = count
                    isSettled = false
                }
            }
            if isSettled { return }
        }
        throw .corrupt("relocated/", "relocation records lead in a circle")
    }
    private static let chainMax = 1000

    /// Where the records of a segment are now: itself, or the last targets of its relocations.
    func places(of segment: SegmentReference) -> [SegmentReference] {
        guard let record = relocations[segment.id] else { return [segment] }
        return record.targets.flatMap(places)
    }

    /// - Returns: the targets.
    @discardableResult
    mutating func add(_ record: RelocationRecord) throws(StorageError) -> [SegmentID] {
        guard let victim = references[record.victim], victim.contentHash == record.victimHash else {
            throw .corrupt(
                RelocationRecord.key(of: record.victim).text, "it speaks of other contents of \(record.victim)",
                expected: references[record.victim].map { "\($0.contentHash)" }, actual: "\(record.victimHash)")
        }
        relocations[record.victim] = record
        for target in record.targets { try add(target) }
        return record.targets.map(\.id)
    }
}
