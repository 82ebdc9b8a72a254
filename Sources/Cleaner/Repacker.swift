import Codec
import ObjectStorage
import SegmentLog
import Snapshots
import StoreCore

/// A segment to be emptied, and what of it must be kept.
struct Victim: Sendable {
    var segment: SegmentReference
    /// Ascending.
    var records: [RecordLocation]
}

/// Copies needed records to packed segments and publishes where they went.
///
/// Order, which R3 asks for: packed segments, then the relocation record, then its winner is read back and compared
/// with what is needed, then the victim may go. A crash in between leaves what the next pass finishes.
struct Repacker {
    let context: GCContext
    let generation: UInt64
    private static let readsInFlight = 4
    /// Dead bytes between two records that one GET reads along.
    private static let gapBytesMax: UInt32 = 128 << 10

    struct Outcome: Sendable {
        /// The record in force of each victim that may go.
        var confirmed: [RelocationRecord] = []
        var packed: [SegmentReference] = []
        var unreadable = 0
    }

    /// A victim whose records are being copied: places in segments that may not be complete yet.
    private struct Moving {
        var victim: Victim
        var places: [(old: UInt32, ordinal: Int, record: RecordLocation)] = []
    }

    func repack(_ victims: [Victim]) async throws -> Outcome {
        var outcome = Outcome()
        var pack = try PackedUpload(context: context, generation: generation)
        var moving: [Moving] = []
        for part in victims.chunked(Self.readsInFlight) {
            let read = try await mapConcurrently(Array(part), atMost: Self.readsInFlight) { try await payloads(of: $0) }
            for (victim, payloads) in zip(part, read) {
                guard let payloads else {
                    outcome.unreadable += 1
                    continue
                }
                var move = Moving(victim: victim)
                for (record, payload) in zip(victim.records, payloads) {
                    let (ordinal, place) = try await pack.append(payload, blockCount: record.blockCount)
                    move.places.append((record.position, ordinal, place))
                }
                moving.append(move)
            }
        }
        try await pack.finish()
        outcome.packed = pack.sealed
        let done = pack.sealed
        let confirmed = try await context.concurrently(moving.map { record(of: $0.victim, $0.places, in: done) }) {
            try await publish($0)
        }
        outcome.confirmed = confirmed.compactMap(\.self)
        return outcome
    }

    /// The stored payloads of the needed records; nil where they cannot be had: the victim then stays as it is.
    func payloads(of victim: Victim) async throws -> [[UInt8]]? {
        var payloads: [[UInt8]] = []
        do {
            for range in Self.ranges(of: victim.records) {
                let first = victim.records[range.lowerBound]
                let last = victim.records[range.upperBound - 1]
                let bytes = try await context.store.get(
                    victim.segment.id.key,
                    range: UInt64(first.position)..<UInt64(last.position) + UInt64(last.byteCount))
                for record in victim.records[range] {
                    let start = Int(record.position - first.position)
                    let end = start + Int(record.byteCount)
                    guard end <= bytes.count else { return nil }
                    payloads.append(
                        try SegmentReader.openStoredPayload(
                            bytes[start..<end], record, of: victim.segment, keys: context.keys))
                }
            }
        } catch  where [.notFound, .corrupt, .invalid].contains(error.storageCode) {
            return nil
        }
        return payloads
    }

    /// Records that one GET reads: neighbours, and those with little between them.
    private static func ranges(of records: [RecordLocation]) -> [Range<Int>] {
        var ranges: [Range<Int>] = []
        var start = 0
        for index in records.indices {
            let end = records[index].position + records[index].byteCount
            let isLast = index + 1 == records.count
            if isLast || records[index + 1].position - end > gapBytesMax {
                ranges.append(start..<index + 1)
                start = index + 1
            }
        }
        return ranges
    }

    private func record(
        of victim: Victim, _ places: [(old: UInt32, ordinal: Int, record: RecordLocation)],
        in packed: [SegmentReference]
    ) -> (RelocationRecord, Victim) {
        var targets: [SegmentReference] = []
        var numbers: [Int: Int] = [:]
        let entries = places.map { place in
            let target = numbers[place.ordinal] ?? targets.count
            if numbers.updateValue(target, forKey: place.ordinal) == nil { targets.append(packed[place.ordinal]) }
            return RelocationRecord.Entry(oldPosition: place.old, target: target, record: place.record)
        }
        let record = RelocationRecord(
            victim: victim.segment.id, victimHash: victim.segment.contentHash, targets: targets, entries: entries)
        return (record, victim)
    }

    private func publish(_ draft: (record: RelocationRecord, victim: Victim)) async throws -> RelocationRecord? {
        let key = RelocationRecord.key(of: draft.victim.segment.id)
        _ = try await context.store.create(key, try draft.record.sealed(with: context.keys))
        return try await confirmed(draft.victim)
    }

    /// For a victim of which nothing is needed: the record tells those who find its name in a run that it is not lost.
    func publishDeath(of victim: Victim) async throws -> RelocationRecord? {
        precondition(victim.records.isEmpty, "nothing of it is needed")
        return try await publish(record(of: victim, [], in: []))
    }

    /// The record in force, if it has a place for all that is needed, so that the victim may go. The record may be
    /// another's: then its targets must be there, or have moved on.
    func confirmed(_ victim: Victim) async throws -> RelocationRecord? {
        let segment = victim.segment
        guard let record = try await RelocationLog.record(of: segment.id, store: context.store, keys: context.keys),
            record.covers(victim)
        else { return nil }
        let heads = try await context.concurrently(record.targets) { target in
            if let found = try await context.store.head(target.id.key) {
                return found.byteCount == UInt64(target.byteCount)
            }
            return try await RelocationLog.record(of: target.id, store: context.store, keys: context.keys) != nil
        }
        return heads.allSatisfy(\.self) ? record : nil
    }
}

extension RelocationRecord {
    func covers(_ victim: Victim) -> Bool {
        guard self.victim == victim.segment.id, victimHash == victim.segment.contentHash else { return false }
        return victim.records.allSatisfy { needed in
            guard let entry = entry(at: needed.position) else { return false }
            return entry.record.byteCount == needed.byteCount && entry.record.blockCount == needed.blockCount
        }
    }
}
