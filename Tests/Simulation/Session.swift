/// One change that a client asked of a volume. `begin` and `end` count the events of the whole run: a change that ended
/// before another began was applied before it.
struct Change {
    enum Kind {
        case write(tag: UInt64)
        case zero
        /// The new number of sectors.
        case resize(Int)
    }
    var kind: Kind
    var sectors: Range<Int>
    var begin: UInt64
    /// When the client was answered, or knew that it would not be; `.max` while it waits.
    var end = UInt64.max
    var isAcknowledged = false
}

/// What was promised about the changes of a session, weakest first.
enum Promise: Int, Comparable {
    /// In the object store.
    case stored
    /// In the store or in a synced journal.
    case synced
    /// Answered at all.
    case acknowledged
    static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// What one opening of a volume was asked and what it answered: all that the next one is judged by (R1, R2, R4).
struct Session {
    let number: Int
    let volume: String
    let host: String
    /// Flushes reach the store, not only the journal.
    let flushesToStore: Bool
    /// Contents and size before all of `changes`: known to be in the store.
    var base: [UInt64]
    /// Contents and size when it was opened.
    var opened: [UInt64]
    /// The process that serves it, and the epoch under which it does.
    var process = ""
    var epoch: UInt64 = 0
    /// The step at which it began.
    var begun: UInt64 = 0
    /// Of sessions before this one that are perhaps in a journal only, then its own.
    var changes: [Change] = []
    /// Promised to be in the store, in the journal: indices of changes.
    var stored: Set<Int> = []
    var synced: Set<Int> = []
    /// The strongest promise that must still hold, after what happened to the host.
    var holding = Promise.acknowledged
    /// A rollback whose outcome is not known: the contents may be these instead.
    var alternatives: [[UInt64]] = []
    /// What a later opening found of this one; set once it was superseded.
    var survived: Set<Int>?
    /// The contents by which that was judged.
    var seenLater: [UInt64] = []
    /// The disk with its journal is lost: whatever comes next is what the store holds.
    var hasLostDisk = false
    /// No client uses it any more.
    var isOver = false

    /// Goes on from `before`, of which an opening found `prefix`. What the store is not known to hold may still be
    /// lost with the disk, and is judged again.
    mutating func inherit(_ before: Session, _ prefix: Set<Int>, isFromStore: Bool) {
        if isFromStore || prefix.isSubset(of: before.stored) { return }
        base = before.base
        changes = before.changes
        for index in changes.indices { changes[index].isAcknowledged = prefix.contains(index) }
        stored = before.stored.intersection(prefix)
        // A new process synced the journals that it read.
        synced = before.process == process ? before.synced.intersection(prefix) : prefix
    }

    /// Changes that a recovery must show.
    var promised: Set<Int> {
        var promised = stored
        if holding >= .synced { promised.formUnion(synced) }
        if holding >= .acknowledged {
            for index in changes.indices where changes[index].isAcknowledged { promised.insert(index) }
        }
        return promised
    }
}

/// Finds the prefix of a session's changes that a state shows, or says why there is none (R2).
///
/// Changes that ran at the same time may have been applied in any order; writes carry unique tags, so that which came
/// last is seen, and zeroes and resizes run alone, so that their order is known. The smallest set that explains the
/// state is searched: what is seen, what was promised, and all that was acknowledged before any of these began. A
/// larger set could only be contradicted more.
struct PrefixSearch {
    let session: Session
    let found: [UInt64]
    private(set) var prefix: Set<Int> = []
    /// By sector: the changes that touch it, in the order of their beginning.
    private var touching: [[Int]]
    private let changes: [Change]

    /// - Parameter changes: those that may be in it.
    init(_ session: Session, found: [UInt64], changes: [Change]? = nil) {
        self.session = session
        self.found = found
        self.changes = changes ?? session.changes
        let largest = self.changes.map(\.sectors.upperBound).max() ?? 0
        touching = Array(repeating: [], count: max(found.count, session.base.count, largest))
        for (index, change) in self.changes.enumerated() {
            for sector in change.sectors { touching[sector].append(index) }
        }
    }

    /// Returns what contradicts; nil where the state is the effect of `prefix`, all `promised` included.
    mutating func run(promised: Set<Int>) -> String? {
        for index in promised { include(index) }
        for (sector, tag) in found.enumerated() where tag != Sector.zero {
            if tag == Sector.garbage { return "sector \(sector) holds what was never written there" }
            if let writer = writer(of: tag, sector) { include(writer) }
        }
        while true {
            let before = prefix.count
            if let problem = settleSize() { return problem }
            for sector in found.indices {
                if let problem = settle(sector) { return problem }
            }
            if prefix.count == before { break }
        }
        return circularOrder()
    }

    /// The change with this tag; nil for what the session began with, or never wrote.
    private func writer(of tag: UInt64, _ sector: Int) -> Int? {
        touching[sector].last { index in
            if case .write(tag) = changes[index].kind { return true }
            return false
        }
    }

    /// A prefix holds everything that was acknowledged before any of its members began, and with a cut what it cut off.
    private mutating func include(_ index: Int) {
        guard prefix.insert(index).inserted else { return }
        let begin = changes[index].begin
        if case .resize = changes[index].kind, index > 0, changes[index - 1].begin + 1 == begin,
            case .zero = changes[index - 1].kind
        {
            prefix.insert(index - 1)
        }
        for other in changes.indices where changes[other].isAcknowledged && changes[other].end < begin {
            prefix.insert(other)
        }
    }

    private mutating func settleSize() -> String? {
        let resizes = changes.indices.filter { if case .resize = changes[$0].kind { true } else { false } }
        let last = resizes.last { prefix.contains($0) }
        if size(last) == found.count { return nil }
        guard let next = resizes.first(where: { $0 > last ?? -1 && size($0) == found.count }) else {
            return "the volume has \(found.count) sectors, it should have \(size(last))"
        }
        include(next)
        return nil
    }
    private func size(_ resize: Int?) -> Int {
        if let resize, case .resize(let count) = changes[resize].kind { return count }
        return session.base.count
    }

    private mutating func settle(_ sector: Int) -> String? {
        let tag = found[sector]
        let members = touching[sector].filter { prefix.contains($0) }
        if tag == Sector.zero { return settleZero(sector, members) }
        guard let writer = writer(of: tag, sector) else {
            guard tag == base(sector) else { return "sector \(sector) holds \(name(tag)), which was not there before" }
            guard let later = members.first else { return nil }
            return "sector \(sector) holds what it held at the opening, but \(name(later)) came after"
        }
        for other in members where other != writer && changes[writer].end < changes[other].begin {
            return "sector \(sector) holds \(name(writer)), but \(name(other)) came after"
        }
        return nil
    }
    private mutating func settleZero(_ sector: Int, _ members: [Int]) -> String? {
        guard let last = members.last else {
            if base(sector) == Sector.zero { return nil }
            return includeZero(sector, after: -1)
        }
        if case .zero = changes[last].kind { return nil }
        return includeZero(sector, after: last)
    }
    private mutating func includeZero(_ sector: Int, after last: Int) -> String? {
        let next = touching[sector].first { index in
            if index > last, case .zero = changes[index].kind { return true }
            return false
        }
        guard let next else {
            let lost = last < 0 ? "what it held at the opening" : name(last)
            return "sector \(sector) is zero, it should hold \(lost)"
        }
        include(next)
        return nil
    }
    private func base(_ sector: Int) -> UInt64 {
        sector < session.base.count ? session.base[sector] : Sector.zero
    }

    /// Two writes that ran at the same time must not each cover the other somewhere: each is applied whole.
    private func circularOrder() -> String? {
        var above: [Int: Set<Int>] = [:]
        for (sector, tag) in found.enumerated() where tag != Sector.zero {
            guard let writer = writer(of: tag, sector) else { continue }
            for other in touching[sector] where other != writer && prefix.contains(other) {
                if above[writer]?.contains(other) ?? false {
                    return "\(name(writer)) and \(name(other)) each cover a part of the other"
                }
                above[other, default: []].insert(writer)
            }
        }
        return nil
    }

    private func name(_ index: Int) -> String {
        let change = changes[index]
        let kind =
            switch change.kind {
            case .write(let tag): "write \(tag & 0xffff_ffff)"
            case .zero: "zeroes"
            case .resize(let count): "resize to \(count)"
            }
        let promise = [
            change.isAcknowledged ? "acknowledged" : "", session.synced.contains(index) ? "synced" : "",
            session.stored.contains(index) ? "stored" : "",
        ].filter { !$0.isEmpty }.joined(separator: ", ")
        return "change \(index) (\(kind) of \(change.sectors), \(change.begin) to \(change.end), \(promise))"
    }
    private func name(_ tag: UInt64) -> String { "write \(tag & 0xffff_ffff) of session \(tag >> 32)" }
}
