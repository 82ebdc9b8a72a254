import BlockMap
import Codec
import ObjectStorage
import SegmentLog
import StoreCore

/// Segments: whether they are there, what they hold, and whom it concerns where they are not sound.
extension Verification {
    /// Up to here each segment is asked for by itself; above, the store is listed.
    private static let headsMax = 2000
    private static let readsInFlight = 4

    mutating func checkSegments(named sound: [Int]) async throws {
        var segments = try await namedSegments(sound)
        var rest = segments.references
        // A gc beside this one may repack what was just found. Where that leads was not looked at yet, and may be gone
        // again by then.
        while !rest.isEmpty {
            let present = try await sizes(of: rest)
            var gone: [SegmentID] = []
            for (id, reference) in rest {
                objects += 1
                guard let size = present[id] else {
                    gone.append(id)
                    continue
                }
                if size != UInt64(reference.byteCount) {
                    segments.suspects[id] = "it has \(size) bytes, expected \(reference.byteCount)"
                } else if !context.keys.holds(reference.header.keyID) {
                    segments.suspects[id] =
                        "it is sealed under data key \(reference.header.keyID), which is not at hand"
                }
            }
            if deep { gone += try await readAll(&segments, present) }
            rest = try await follow(gone.sorted(), &segments)
        }
        try await findAffected(segments, sound)
    }

    /// What is not there was repacked, or is lost.
    /// - Returns: where it leads that nothing led to before.
    private mutating func follow(
        _ gone: [SegmentID], _ segments: inout SegmentsInQuestion
    ) async throws -> [SegmentID: SegmentReference] {
        var targets: [SegmentID: SegmentReference] = [:]
        for id in gone {
            // Its record may have come after they were listed; it was there before the segment went.
            if !segments.wasMoved(id) {
                for target in try await readRelocation(of: id, &segments) { targets[target.id] = target }
            }
            if segments.wasMoved(id) {
                segments.gone.insert(id)
            } else {
                segments.suspects[id] = "it is missing"
                damage.note(id.key.text, "it is missing", missing: true)
            }
        }
        return targets
    }

    /// - Returns: the targets that nothing else led to; none where there is no record, or a damaged one.
    private mutating func readRelocation(
        of id: SegmentID, _ segments: inout SegmentsInQuestion
    ) async throws -> [SegmentReference] {
        var targets: [SegmentReference] = []
        do {
            guard let record = try await RelocationLog.record(of: id, store: context.store, keys: context.keys) else {
                return []
            }
            objects += 1
            segments.relocations[id] = record
            for target in record.targets where segments.references[target.id] == nil {
                segments.references[target.id] = target
                targets.append(target)
            }
        } catch  where error.isDamage {
            damage.note(RelocationRecord.key(of: id).text, "\(error)")
            segments.unreadableRelocations[id] = "\(error)"
        }
        return targets
    }

    /// What the sound runs name, and where it was moved.
    private mutating func namedSegments(_ sound: [Int]) async throws -> SegmentsInQuestion {
        var segments = SegmentsInQuestion()
        for index in sound {
            do {
                try await context.maps.forEachSegment(of: runs.runs[index]) {
                    segments.references[$0.segment.id] = $0.segment
                }
            } catch  where error.isDamage {
                damage.note(runs.runs[index].key.text, "\(error)", missing: error.storageCode == .notFound)
            }
        }
        let names = try await RelocationRecord.names(in: context.store)
        var frontier = names.isEmpty ? [] : segments.references.keys.sorted()
        while let id = frontier.popLast() {
            guard names.contains(RelocationRecord.name(of: id)) else { continue }
            for target in try await readRelocation(of: id, &segments) { frontier.append(target.id) }
        }
        return segments
    }

    private func sizes(of references: [SegmentID: SegmentReference]) async throws -> [SegmentID: UInt64] {
        var found: [SegmentID: UInt64] = [:]
        if references.count <= Self.headsMax {
            let heads = try await context.concurrently(Array(references.keys)) { id in
                (id, try await context.store.head(id.key)?.byteCount)
            }
            for (id, size) in heads { found[id] = size }
            return found
        }
        for prefix in ["packed/", "volumes/"] {
            try await context.store.forEachObject(prefix: prefix) { object in
                guard case .segment(let id) = ObjectName(object.key), references[id] != nil else { return }
                found[id] = object.byteCount
            }
        }
        return found
    }

    /// - Returns: those that went since they were found.
    private mutating func readAll(
        _ segments: inout SegmentsInQuestion, _ present: [SegmentID: UInt64]
    ) async throws -> [SegmentID] {
        let ids = present.keys.filter { segments.suspects[$0] == nil }.sorted()
        let references = segments.references
        var gone: [SegmentID] = []
        var done = 0
        for part in ids.chunked(64) {
            context.progress("verify data", UInt64(done), UInt64(ids.count))
            let results = try await mapConcurrently(Array(part), atMost: Self.readsInFlight) { [context] id in
                (id, try await Self.problem(of: id, references[id], context))
            }
            for (id, problem) in results {
                guard problem?.storageCode != .notFound else {
                    gone.append(id)
                    continue
                }
                bytes += present[id] ?? 0
                if let problem { segments.suspects[id] = "\(problem)" }
            }
            done += part.count
        }
        return gone
    }

    private static func problem(
        of id: SegmentID, _ reference: SegmentReference?, _ context: GCContext
    ) async throws -> (any Error)? {
        do {
            let object = try await context.store.get(id.key, range: nil)
            let (found, _) = try SegmentReader.verify(object, id: id, keys: context.keys)
            guard found == reference else {
                return StorageError(.corrupt, "its contents are not those that the map names")
            }
            return nil
        } catch  where error.isDamage {
            return error
        }
    }

    /// Looks through the maps of all who name a suspect, or a segment that was repacked: every extent must have a
    /// place.
    private mutating func findAffected(_ segments: SegmentsInQuestion, _ sound: [Int]) async throws {
        for (id, problem) in segments.suspects { damage.note(id.key.text, problem) }
        guard !segments.suspects.isEmpty || !segments.gone.isEmpty else { return }
        let touched = try await runsNaming(segments, sound)
        var search = AffectedSearch(segments: segments, context: context)
        var seen: [RunSet.Layout: [String]] = [:]
        for root in roots where root.layout.levels.joined().contains(where: touched.contains) {
            guard !(seen[root.layout]?.contains(root.name) ?? false) else { continue }
            seen[root.layout, default: []].append(root.name)
        }
        for (index, (layout, names)) in seen.enumerated() {
            context.progress("look for what is affected", UInt64(index), UInt64(seen.count))
            do {
                try await context.maps.forEachExtent(in: runs.map(of: layout)) { extent in
                    guard let (object, problem) = try await search.problem(of: extent) else { return }
                    let span = VerifyReport.ByteSpan(
                        firstByte: extent.range.byteOffset, byteCount: extent.range.byteCount)
                    for name in names { damage.note(object, problem, affecting: name, span) }
                }
            } catch  where error.isDamage {
                // A damaged run, which is reported; what lies behind it is not known.
                for name in names {
                    damage.note(
                        "map of \(name)", "\(error)", affecting: [name], missing: error.storageCode == .notFound)
                }
            }
        }
        if search.isMissingSomething { damage.noteMissing() }
    }

    private mutating func runsNaming(_ segments: SegmentsInQuestion, _ sound: [Int]) async throws -> Set<Int32> {
        var touched: Set<Int32> = []
        for index in sound {
            do {
                try await context.maps.forEachSegment(of: runs.runs[index]) { usage in
                    let id = usage.segment.id
                    // Of what was moved, the targets may be suspects.
                    guard segments.suspects[id] != nil || segments.wasMoved(id) else { return }
                    touched.insert(Int32(index))
                }
            } catch  where error.isDamage {
                damage.note(runs.runs[index].key.text, "\(error)", missing: error.storageCode == .notFound)
            }
        }
        return touched
    }
}

struct SegmentsInQuestion: Sendable {
    var references: [SegmentID: SegmentReference] = [:]
    var relocations: [SegmentID: RelocationRecord] = [:]
    /// By what was moved: records that are there and damaged, and how.
    var unreadableRelocations: [SegmentID: String] = [:]
    /// Whether its relocation record is there, readable or not.
    func wasMoved(_ id: SegmentID) -> Bool { relocations[id] != nil || unreadableRelocations[id] != nil }
    /// Not there any more, as they were repacked.
    var gone: Set<SegmentID> = []
    /// Missing or damaged, and how.
    var suspects: [SegmentID: String] = [:]
}

/// Finds out whether an extent can be read, where its segment is suspect; each record is tried once.
private struct AffectedSearch {
    let segments: SegmentsInQuestion
    let context: GCContext
    private(set) var isMissingSomething = false
    private var tried: [SegmentID: [UInt32: Bool]] = [:]

    init(segments: SegmentsInQuestion, context: GCContext) {
        self.segments = segments
        self.context = context
    }

    /// The object at fault and what is wrong; nil when the extent's record is sound.
    mutating func problem(of extent: Extent) async throws -> (object: String, problem: String)? {
        guard case .data(let location) = extent.mapping else { return nil }
        var (segment, record) = (location.segment, location.record)
        for _ in 0...RelocationLog.movesMax + 4 {
            guard segments.gone.contains(segment.id) else { break }
            if let problem = segments.unreadableRelocations[segment.id] {
                return (RelocationRecord.key(of: segment.id).text, problem)
            }
            guard let relocation = segments.relocations[segment.id] else { break }
            guard let entry = relocation.entry(at: record.position), entry.record.blockCount == record.blockCount else {
                // What an older version alone needs does not move.
                isMissingSomething = true
                return (RelocationRecord.key(of: segment.id).text, "a record that is needed was not moved")
            }
            (segment, record) = (relocation.targets[entry.target], entry.record)
        }
        guard let problem = segments.suspects[segment.id] else { return nil }
        return try await isSound(record, of: segment) ? nil : (segment.id.key.text, problem)
    }

    private mutating func isSound(_ record: RecordLocation, of segment: SegmentReference) async throws -> Bool {
        if let known = tried[segment.id]?[record.position] { return known }
        var isSound = true
        do {
            let range = UInt64(record.position)..<UInt64(record.position) + UInt64(record.byteCount)
            let frame = try await context.store.get(segment.id.key, range: range)
            _ = try SegmentReader.openRecord(frame[...], record, of: segment, keys: context.keys)
        } catch  where error.isDamage {
            isSound = false
            if error.storageCode == .notFound { isMissingSomething = true }
        }
        tried[segment.id, default: [:]][record.position] = isSound
        return isSound
    }
}
