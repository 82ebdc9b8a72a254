/// Something that a client asked for: at one event it was issued, at another it was acknowledged.
struct Asked: Sendable {
    var issued: Int
    var acknowledged: Int?
}

/// How much of the world a crash leaves.
enum CrashKind: String, CaseIterable, Sendable {
    /// SIGKILL: the page cache stays.
    case kill
    /// The host loses its power.
    case host
    /// The host's disk is lost with it.
    case disk

    /// Which of the two loses more.
    func worse(_ other: CrashKind) -> CrashKind {
        let order = CrashKind.allCases
        let place = max(order.firstIndex(of: self) ?? 0, order.firstIndex(of: other) ?? 0)
        return order[place]
    }
}

/// What clients did to a volume, and what they were promised.
final class VolumeHistory: @unchecked Sendable {
    struct Version: Sendable {
        var contents: Contents
        var issued: Int
        /// Answered: survives SIGKILL from this event on.
        var acknowledged: Int?
        /// Covered by an answered flush: survives the host.
        var flushed: Int?
        /// Known to be in the store: survives the loss of the disk.
        var stored: Int?
        /// From this event on it cannot come back: the volume was opened again without it.
        var deadAt: Int?

        func promised(_ kind: CrashKind) -> Int? {
            switch kind {
            case .kill: acknowledged
            case .host: flushed
            case .disk: stored
            }
        }
    }
    /// What the volume held at the event, by what its client knew: the order of the writes' application.
    fileprivate(set) var versions: [Version]
    private(set) var otherBases: [Contents]
    /// Whether a flush puts writes into the store (mode `store`), or into the journal only.
    let flushStores: Bool
    /// Without a journal an answer alone promises nothing.
    var isJournaled = true
    /// A writer that had lost the volume was told that its flush succeeded.
    var wronglyAcknowledged = false
    let creation: Asked
    var created: Int?
    var removal: Asked?
    /// Names with the event from which each is possible, and the one from which the one before is not.
    fileprivate(set) var names: [(name: String, asked: Asked)]
    /// Hosts that own the volume, likewise.
    private(set) var owners: [(host: Int, asked: Asked)] = []
    var snapshots: [SnapshotHistory] = []

    /// - Parameter otherBases: what it may begin with instead, until it was looked at.
    init(_ name: String, contents: Contents, otherBases: [Contents] = [], flushStores: Bool, issued: Int) {
        self.flushStores = flushStores
        self.otherBases = otherBases
        creation = Asked(issued: issued)
        names = [(name, Asked(issued: issued))]
        versions = [
            Version(contents: contents, issued: issued, acknowledged: issued, flushed: issued, stored: issued)
        ]
    }

    var name: String { names.last?.name ?? "" }
    var last: Contents { versions.last?.contents ?? [] }

    // MARK: What the client notes

    /// - Returns: the version's place.
    func begin(_ contents: Contents, at event: Int) -> Int {
        versions.append(Version(contents: contents, issued: event))
        return versions.count - 1
    }
    func acknowledge(_ version: Int, at event: Int) { versions[version].acknowledged = event }
    /// A flush that was asked for at `issued` was answered.
    func flush(issued: Int, at event: Int, intoStore: Bool) {
        for index in versions.indices {
            guard let acknowledged = versions[index].acknowledged, acknowledged <= issued,
                versions[index].deadAt == nil
            else { continue }
            versions[index].flushed = versions[index].flushed ?? event
            if intoStore || flushStores { versions[index].stored = versions[index].stored ?? event }
        }
    }
    /// A branch that was made of a volume under writes holds one of these.
    func setBases(_ contents: [Contents]) {
        guard let first = contents.first else { return }
        versions[0].contents = first
        otherBases = Array(contents.dropFirst())
    }
    /// It was looked at for the first time.
    func fixBase(_ contents: Contents) {
        guard versions.count == 1, otherBases.contains(contents) || versions[0].contents == contents else { return }
        setBases([contents])
    }
    /// Whether it may hold this at all.
    func allows(_ contents: Contents) -> Bool {
        versions[lastAcknowledged...].contains { $0.contents == contents } || otherBases.contains(contents)
    }
    /// The volume was opened again, and held this: whatever else was possible is not any more.
    func reopen(_ contents: Contents, host: Int, asked: Asked) {
        let event = asked.acknowledged ?? asked.issued
        let isTakenOver = isTakenOver(by: host)
        for index in versions.indices where versions[index].deadAt == nil && versions[index].contents != contents {
            let isPast = index < (versions.lastIndex { $0.contents == contents } ?? 0)
            if !isPast { versions[index].deadAt = event }
        }
        var version = Version(contents: contents, issued: asked.issued, acknowledged: event)
        if isTakenOver { (version.flushed, version.stored) = (event, event) }
        versions.append(version)
        owners.append((host, asked))
    }
    func own(_ host: Int, _ asked: Asked) { owners.append((host, asked)) }
    /// Whether the last who surely owned it was another.
    func isTakenOver(by host: Int) -> Bool {
        owners.last { $0.asked.acknowledged != nil }.map { $0.host != host } ?? false
    }
    func rename(_ name: String, issued: Int) { names.append((name, Asked(issued: issued))) }
    func acknowledgeRename(at event: Int) { names[names.count - 1].asked.acknowledged = event }
}

/// What clients know of a snapshot.
final class SnapshotHistory: @unchecked Sendable {
    /// A rollback names what it replaces by the time: then this is how such names begin.
    let name: String
    let isPrefix: Bool
    var asked: Asked
    var removal: Asked?
    /// The version that was acknowledged when it was asked for: it holds that or a later one.
    let from: Int
    /// The last version that was begun when it was answered.
    var upTo: Int?
    /// The contents that it was found to have in the end.
    var exact: Contents?
    /// What it may hold, where that is known from before a crash.
    var fixed: [Contents]?

    init(_ name: String, isPrefix: Bool = false, issued: Int, from: Int) {
        self.name = name
        self.isPrefix = isPrefix
        asked = Asked(issued: issued)
        self.from = from
    }
}

extension VolumeHistory {
    var lastAcknowledged: Int { versions.lastIndex { $0.acknowledged != nil } ?? 0 }
    var lastBegun: Int { versions.count - 1 }
}

// MARK: After a crash
extension VolumeHistory {
    /// What is known of the volume after a crash: the beginning of a new history. nil where there was nothing yet.
    ///
    /// - Parameter promise: which of its promises the crash left in force.
    func after(_ point: Int, _ promise: CrashKind) -> VolumeHistory? {
        guard creation.issued < point else { return nil }
        let promise = isJournaled ? promise : promise.worse(.host)
        let other = VolumeHistory(
            names[0].name, contents: [], otherBases: otherBases, flushStores: flushStores, issued: -1)
        other.isJournaled = isJournaled
        other.created = created.flatMap { $0 < point ? -1 : nil }
        other.removal = removal.flatMap { $0.after(point) }
        other.names = names.compactMap { entry in entry.asked.after(point).map { (entry.name, $0) } }
        other.versions = versions.compactMap { version in
            guard version.issued < point, version.deadAt.map({ $0 >= point }) ?? true else { return nil }
            func before(_ event: Int?) -> Int? { event.flatMap { $0 < point ? -1 : nil } }
            let kept = Version(
                contents: version.contents, issued: -1, acknowledged: before(version.promised(promise)),
                flushed: before(version.promised(promise.worse(.host))),
                stored: before(version.promised(promise.worse(.disk))))
            return kept
        }
        // Versions are counted anew where some are dead: a snapshot keeps its own.
        other.snapshots = snapshots.compactMap { $0.after(point, in: self) }
        return other
    }
}

extension Asked {
    fileprivate func after(_ point: Int) -> Asked? {
        issued < point ? Asked(issued: -1, acknowledged: acknowledged.flatMap { $0 < point ? -1 : nil }) : nil
    }
}

extension SnapshotHistory {
    fileprivate func after(_ point: Int, in volume: VolumeHistory) -> SnapshotHistory? {
        guard let asked = asked.after(point) else { return nil }
        let other = SnapshotHistory(name, isPrefix: isPrefix, issued: -1, from: 0)
        other.asked = asked
        other.removal = removal.flatMap { $0.after(point) }
        other.exact = exact
        other.fixed = candidates(of: volume, at: point)
        return other
    }
    /// What it may hold after a crash at this point.
    func candidates(of volume: VolumeHistory, at point: Int) -> [Contents] {
        if let fixed { return fixed }
        if let exact, asked.acknowledged.map({ $0 < point }) ?? false { return [exact] }
        let begun = volume.versions.lastIndex { $0.issued < point } ?? 0
        let last = min(upTo ?? begun, begun)
        return from <= last ? volume.versions[from...last].map(\.contents) : []
    }
}
