import StoreCore

/// When a segment is worth repacking.
public struct CleaningPolicy: Hashable, Sendable {
    /// Below this share of live bytes a segment is repacked in any case.
    public var liveShareAlways = 0.5
    /// Up to this share segments are repacked, the most worthwhile first, until the goal is reached.
    public var liveShareMax = 0.9
    /// The goal: bytes stored per live byte.
    public var storedPerLive = 1.15
    /// Smaller segments are merged when there are many.
    public var smallBytes: UInt64 = 1 << 20
    public var smallCountMin = 8
    /// Of a packed segment.
    public var packedBytesTarget = Limits.segmentBytesTarget
    public init() {}
}

/// A segment that may be repacked.
struct CleaningCandidate<ID: Sendable>: Sendable {
    var id: ID
    var byteCount: UInt64
    /// What it would take without the records that no version needs.
    var liveBytes: UInt64
    /// Since it was written.
    var ageSeconds: Double
    /// It consists of records that outlived another segment already.
    var isPacked: Bool
    /// Another cleaner began with it and did not finish.
    var isDue = false

    var liveShare: Double { byteCount == 0 ? 1 : Double(min(liveBytes, byteCount)) / Double(byteCount) }
    /// Rosenblum and Ousterhout 1991: what is won, and for how long it will last, per byte read and written.
    var benefit: Double { (1 - liveShare) * ageSeconds / (1 + liveShare) }
}

/// Which segments to repack, and which together: a pure decision.
///
/// What was written lately is likely to die soon, what survived a repacking is likely to stay. So records of different
/// ages do not share a segment: those that die together leave segments that are wholly dead, and those that stay are
/// not copied again and again (Blackwell 1995; SepBIT, FAST'22).
struct CleaningPlan<ID: Sendable>: Sendable {
    /// Each is repacked for itself, in its order.
    private(set) var groups: [[CleaningCandidate<ID>]] = []

    /// - Parameters:
    ///   - candidates: in the order in which their contents should lie.
    ///   - otherBytes: of segments that stay as they are.
    init(_ candidates: [CleaningCandidate<ID>], otherBytes: UInt64, policy: CleaningPolicy) {
        var chosen = Array(repeating: false, count: candidates.count)
        let small = candidates.indices.filter { candidates[$0].byteCount < policy.smallBytes }
        for ofOneAge in Dictionary(grouping: small, by: { Self.ageClass(candidates[$0]) }).values
        where ofOneAge.count >= policy.smallCountMin {
            for index in ofOneAge { chosen[index] = true }
        }
        for (index, candidate) in candidates.enumerated()
        where candidate.isDue || candidate.liveShare < policy.liveShareAlways {
            chosen[index] = true
        }
        Self.reachGoal(candidates, &chosen, otherBytes: otherBytes, policy: policy)
        let ages = Dictionary(grouping: candidates.indices.filter { chosen[$0] }) { Self.ageClass(candidates[$0]) }
        for age in ages.keys.sorted() {
            groups += Self.cut(ages[age, default: []].map { candidates[$0] }, policy: policy)
        }
    }

    private static func reachGoal(
        _ candidates: [CleaningCandidate<ID>], _ chosen: inout [Bool], otherBytes: UInt64, policy: CleaningPolicy
    ) {
        var live = Double(otherBytes)
        var stored = Double(otherBytes)
        for (index, candidate) in candidates.enumerated() {
            let liveBytes = Double(min(candidate.liveBytes, candidate.byteCount))
            live += liveBytes
            stored += chosen[index] ? liveBytes : Double(candidate.byteCount)
        }
        let rest = candidates.indices.filter { !chosen[$0] && candidates[$0].liveShare < policy.liveShareMax }
        for index in rest.sorted(by: { candidates[$0].benefit > candidates[$1].benefit }) {
            guard stored > live * policy.storedPerLive else { return }
            chosen[index] = true
            stored -= Double(candidates[index].byteCount) - Double(candidates[index].liveBytes)
        }
    }

    private static func ageClass(_ candidate: CleaningCandidate<ID>) -> Int {
        if candidate.isPacked { return candidate.ageSeconds < 7 * 86_400 ? 3 : 4 }
        return candidate.ageSeconds < 3600 ? 0 : candidate.ageSeconds < 86_400 ? 1 : 2
    }

    /// Groups of a few packed segments each, so that several can be worked on and little is lost when one fails.
    private static func cut(
        _ victims: [CleaningCandidate<ID>], policy: CleaningPolicy
    ) -> [[CleaningCandidate<ID>]] {
        var groups: [[CleaningCandidate<ID>]] = []
        var group: [CleaningCandidate<ID>] = []
        var bytes: UInt64 = 0
        for victim in victims {
            group.append(victim)
            bytes += victim.liveBytes
            if bytes >= 4 * UInt64(policy.packedBytesTarget) || group.count >= 4096 {
                groups.append(group)
                (group, bytes) = ([], 0)
            }
        }
        if !group.isEmpty { groups.append(group) }
        return groups
    }
}
