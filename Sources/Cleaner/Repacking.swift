import Codec
import BlockMap
import ObjectStorage
import SegmentLog
import Snapshots
import StoreCore

/// The step between proof and deletion: which segments are worth emptying, and their emptying.
struct Repacking {
    let context: GCContext
    let roots: Roots
    let generations: [CleanerGeneration]
    /// Generations whose victims are not known.
    let neverClosed: Set<UInt64>
    /// Relocation records that the first LIST showed, and the one between generations and roots too: only they may go.
    /// A LIST takes its time; it may show a record, and not the one that led to it and came earlier. What the first one
    /// shows, the second one shows with all that leads to it.
    let knownRelocations: Set<Digest>
    var named: NamedSegments
    /// Named segments that may go, because a relocation record says where everything went that is needed.
    private(set) var emptied: Set<SegmentID> = []
    private(set) var packedBytes: UInt64 = 0
    private(set) var repackedBytes: UInt64 = 0
    private(set) var repackedCount = 0
    private(set) var unreadable = 0
    /// Victims of earlier generations that still lack a record.
    private var unfinished: Set<SegmentID> = []
    private var present: [SegmentID: Timestamp] = [:]

    init(
        context: GCContext, roots: Roots, generations: [CleanerGeneration], neverClosed: Set<UInt64>,
        knownRelocations: Set<Digest>, named: NamedSegments
    ) {
        self.context = context
        self.roots = roots
        self.generations = generations
        self.neverClosed = neverClosed
        self.knownRelocations = knownRelocations
        self.named = named
    }

    /// Generations whose unnamed segments may still be named.
    var openGenerations: Set<UInt64> {
        neverClosed.union(generations.filter { $0.victims.contains(where: unfinished.contains) }.map(\.number))
    }

    mutating func run() async throws {
        unfinished = Set(generations.flatMap(\.victims).filter { named.contains($0) && named.relocations[$0] == nil })
        try await findPresent()
        try await checkNothingIsLost()
        guard context.options.repacks else { return }
        var needs = try await collectNeeds()
        try await empty(plan(&needs))
    }

    /// Which named segments are there, and since when. A second LIST, so that nothing must be remembered of the first.
    private mutating func findPresent() async throws {
        for prefix in ["packed/", "volumes/"] {
            try await context.store.forEachObject(prefix: prefix) { object in
                guard case .segment(let id) = ObjectName(object.key), named.contains(id) else { return }
                present[id] = object.modified
            }
        }
    }

    /// A segment that runs name is there, or a relocation record says where its records are. Where both are missing,
    /// what the record said is unknown, and packed segments that look unnamed may hold the last copy.
    private func checkNothingIsLost() async throws {
        for id in named.references.keys where present[id] == nil && named.relocations[id] == nil {
            guard try await RelocationLog.record(of: id, store: context.store, keys: context.keys) == nil else {
                throw GCContext.rival()
            }
            throw StorageError(
                .corrupt,
                """
                segment \(id), which the map of a volume or snapshot names, is missing: nothing is deleted; \
                run `zerofs verify`
                """
            )
        }
    }

    private func collectNeeds() async throws -> RecordNeeds {
        let moved = present.keys.filter { named.relocations[$0] != nil }.sorted()
        let open = openGenerations
        let due = unfinished.filter { present[$0] != nil && !isProtected($0) && isSettled($0, open) }.sorted()
        let candidates = present.keys.filter { id in
            named.relocations[id] == nil && !isProtected(id) && isSettled(id, open)
                && named.moves[id, default: 0] < RelocationLog.movesMax
        }
        let rewritten = rewrittenVictims(candidates)
        let oldest = candidates.sorted { (present[$0]?.nanoseconds ?? 0, $0) < (present[$1]?.nanoseconds ?? 0, $1) }
        var needs = RecordNeeds(
            candidates: oldest.prefix(context.options.candidatesMax).compactMap { named.references[$0] },
            certain: (moved + due + rewritten).compactMap { named.references[$0] }, relocations: named.relocations,
            options: context.options)
        try await needs.collect(roots.runs, context)
        return needs
    }

    /// Segments under keys that are to be given up, as many as a pass takes.
    private func rewrittenVictims(_ candidates: [SegmentID]) -> [SegmentID] {
        guard !context.options.rewrittenKeys.isEmpty else { return [] }
        var bytes: UInt64 = 0
        var victims: [SegmentID] = []
        for id in candidates.sorted() where isRewritten(id) {
            bytes += UInt64(named.references[id]?.byteCount ?? 0)
            guard victims.isEmpty || bytes <= context.options.rewriteBytesMax else { break }
            victims.append(id)
        }
        return victims
    }
    private func isRewritten(_ id: SegmentID) -> Bool {
        named.references[id].map { context.options.rewrittenKeys.contains($0.header.keyID) } ?? false
    }

    /// Whether all records that lead into it are known. Into a packed segment of an open generation, or of one claimed
    /// since this pass listed them, another pass may yet move records; emptied by what is known here, it would lose
    /// those.
    private func isSettled(_ id: SegmentID, _ open: Set<UInt64>) -> Bool {
        guard case .packed(let generation, _) = id else { return true }
        return generation <= generations.first?.number ?? 0 && !open.contains(generation)
    }

    /// A segment behind the covered position of a manifest that is kept is needed whole, whatever the maps say.
    private func isProtected(_ id: SegmentID) -> Bool {
        guard case .log(let volume, let epoch, let sequence) = id else { return false }
        switch roots.fate(of: volume) {
        case .live(let volume): return volume.tail.protects(epoch, sequence)
        case .untouchable: return true
        case .deleted, .orphan: return false
        }
    }
}

// MARK: The decision
extension Repacking {
    private struct Decision {
        /// Nothing of them is needed: a record says so, to whoever finds their names in a run.
        var dead: [Victim] = []
        /// They have a record already.
        var moved: [Victim] = []
        var groups: [[Victim]] = []
    }

    private mutating func plan(_ needs: inout RecordNeeds) -> Decision {
        var decision = Decision()
        var candidates: [CleaningCandidate<Victim>] = []
        var otherBytes: UInt64 = 0
        let now = context.time.now()
        for id in present.keys.sorted() {
            guard let segment = named.references[id] else { continue }
            guard let records = needs.records(of: id) else {
                otherBytes += UInt64(segment.byteCount)
                continue
            }
            let victim = Victim(segment: segment, records: records)
            if named.relocations[id] != nil {
                decision.moved.append(victim)
            } else if records.isEmpty {
                decision.dead.append(victim)
            } else {
                let age = now.seconds - (present[id]?.seconds ?? 0)
                candidates.append(
                    CleaningCandidate(
                        id: victim, byteCount: UInt64(segment.byteCount),
                        liveBytes: Self.byteCount(ofPacked: records), ageSeconds: max(age, 1),
                        isPacked: id.isPackedSegment, isDue: unfinished.contains(id) || isRewritten(id)))
            }
        }
        let plan = CleaningPlan(candidates, otherBytes: otherBytes, policy: context.options.policy)
        var victims = 0
        for group in plan.groups where victims + group.count <= CleanerGeneration.victimsMax {
            decision.groups.append(group.map(\.id))
            victims += group.count
        }
        return decision
    }
}

extension Repacking {
    /// About what a segment takes that holds nothing but these records, with its header, index and trailer. Were these
    /// not counted, a small or well compressed segment would look mostly dead, and be packed alone in every pass.
    private static func byteCount(ofPacked records: [RecordLocation]) -> UInt64 {
        records.reduce(320) { $0 + UInt64($1.byteCount) + 16 }
    }
}

// MARK: The work
extension Repacking {
    private mutating func empty(_ decision: Decision) async throws {
        if context.dryRun { return foresee(decision) }
        let repacker = Repacker(context: context, generation: 0)
        for part in decision.moved.chunked(256) {
            try await confirm(context.concurrently(part) { try await repacker.confirmed($0) }.compactMap(\.self))
        }
        for part in decision.dead.chunked(256) {
            let records = try await context.concurrently(part) { try await repacker.publishDeath(of: $0) }
            try confirm(records.compactMap(\.self))
        }
        try await repack(decision.groups)
    }

    private mutating func repack(_ groups: [[Victim]]) async throws {
        let groups = try await readable(groups)
        // After a rotation a generation under the new key is wanted in any case: whoever claims on top of it has read
        // it, and so knows the new key.
        guard !groups.isEmpty || !context.options.rewrittenKeys.isEmpty else { return }
        let log = GenerationLog(store: context.store, keys: context.keys)
        let victims = groups.joined().map(\.segment.id).sorted()
        let newest = generations.first?.number ?? 0
        guard let generation = try await log.claim(after: newest, victims: victims, at: context.time.now()) else {
            return
        }
        let repacker = Repacker(context: context, generation: generation.number)
        for (index, group) in groups.enumerated() {
            context.progress("repack", UInt64(index), UInt64(groups.count))
            // Another cleaner works on all that is left.
            guard try await log.objects.newestNumber() == generation.number else { return }
            let outcome = try await repacker.repack(group)
            packedBytes += outcome.packed.reduce(0) { $0 + UInt64($1.byteCount) }
            unreadable += outcome.unreadable
            try confirm(outcome.confirmed)
        }
    }

    /// Without those that an earlier pass could not empty and that cannot be read now either: claimed again, each would
    /// keep one generation more open, and what that packs could never be emptied.
    private mutating func readable(_ groups: [[Victim]]) async throws -> [[Victim]] {
        let repacker = Repacker(context: context, generation: 0)
        var readable: [[Victim]] = []
        for group in groups {
            var kept: [Victim] = []
            for victim in group {
                let isKnown = unfinished.contains(victim.segment.id)
                if isKnown, try await repacker.payloads(of: victim) == nil {
                    unreadable += 1
                } else {
                    kept.append(victim)
                }
            }
            if !kept.isEmpty { readable.append(kept) }
        }
        return readable
    }

    /// The victims of these records may go, and their targets stay.
    private mutating func confirm(_ records: [RelocationRecord]) throws {
        for record in records {
            let isNew = named.relocations[record.victim] == nil
            if isNew {
                repackedCount += 1
                repackedBytes += UInt64(named.references[record.victim]?.byteCount ?? 0)
            }
            try named.add(record)
            emptied.insert(record.victim)
            unfinished.remove(record.victim)
        }
    }

    /// A dry run: as if all went well.
    private mutating func foresee(_ decision: Decision) {
        let victims = decision.groups.joined()
        emptied = Set((decision.moved + decision.dead + victims).map(\.segment.id))
        repackedCount = decision.dead.count + victims.count
        repackedBytes = (decision.dead + victims).reduce(0) { $0 + UInt64($1.segment.byteCount) }
        packedBytes = victims.reduce(0) { $0 + $1.records.reduce(0) { $0 + UInt64($1.byteCount) } }
    }
}

extension SegmentID {
    var isPackedSegment: Bool {
        if case .packed = self { return true }
        return false
    }
}
