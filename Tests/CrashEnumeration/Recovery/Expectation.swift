/// What a recovery may find after a crash at an event, and what it must.
struct Expectation: Sendable {
    struct Item: Sendable {
        /// The names under which it may be found.
        var names: Set<String>
        /// Or any name that begins so.
        var prefixes: [String] = []
        var mustExist: Bool
        var mayExist: Bool
        /// Any of these, whole.
        var candidates: [Contents]
        var isSnapshot: Bool

        func matches(_ name: String) -> Bool {
            names.contains(name) || prefixes.contains { name.hasPrefix($0) }
        }
    }
    var items: [Item] = []

    /// What is wrong with what was found; nil where nothing is.
    func judge(_ found: [String: Contents]) -> String? {
        var rest = found
        for item in items {
            let matching = rest.keys.filter(item.matches).sorted()
            if matching.isEmpty, item.mustExist { return "\(item.names.sorted()) is gone" }
            if matching.count > 1, item.prefixes.isEmpty { return "\(matching) are one and the same" }
            for name in matching.prefix(1) {
                guard item.mayExist else { return "\(name) should not be there" }
                guard let contents = rest.removeValue(forKey: name) else { continue }
                guard !item.candidates.contains(contents) else { continue }
                return "\(name) holds what it cannot: \(Self.difference(contents, item.candidates))"
            }
        }
        return rest.isEmpty ? nil : "\(rest.keys.sorted()) was never asked for"
    }

    private static func difference(_ found: Contents, _ candidates: [Contents]) -> String {
        func count(_ candidate: Contents) -> Int {
            abs(candidate.count - found.count) + zip(candidate, found).count { $0 != $1 }
        }
        guard let nearest = candidates.min(by: { count($0) < count($1) }) else { return "nothing is allowed" }
        var text = "\(found.count) blocks; the nearest of \(candidates.count) allowed states has \(nearest.count)"
        for (block, pair) in zip(found, nearest).enumerated().filter({ $0.element.0 != $0.element.1 }).prefix(4) {
            text += "; block \(block) is \(pair.0), not \(pair.1)"
        }
        return text
    }
}

extension Expectation {
    /// After a crash before the event `point`, recovered on `host`.
    init(_ volumes: [VolumeHistory], at point: Int, _ kind: CrashKind, on host: Int) {
        for volume in volumes where volume.creation.issued < point {
            let promise = volume.isSurelyOwned(by: host, at: point) ? kind : .disk
            let names = volume.possibleNames(at: point)
            let isAcknowledged = volume.created.map { $0 < point } ?? false
            let mayBeGone = volume.removal.map { $0.issued < point } ?? false
            let isGone = volume.removal?.acknowledged.map { $0 < point } ?? false
            items.append(
                Item(
                    names: names, mustExist: isAcknowledged && !mayBeGone, mayExist: !isGone,
                    candidates: volume.candidates(at: point, promise), isSnapshot: false))
            for snapshot in volume.snapshots where snapshot.asked.issued < point {
                items.append(
                    Item(snapshot, of: volume, named: names, at: point, isVolumeMaybeGone: mayBeGone, isGone))
            }
        }
        // Names that are prefixes take what the others leave.
        items = items.filter { $0.prefixes.isEmpty } + items.filter { !$0.prefixes.isEmpty }
    }
}

extension Expectation.Item {
    fileprivate init(
        _ snapshot: SnapshotHistory, of volume: VolumeHistory, named volumeNames: Set<String>, at point: Int,
        isVolumeMaybeGone: Bool, _ isVolumeGone: Bool
    ) {
        let isAcknowledged = snapshot.asked.acknowledged.map { $0 < point } ?? false
        let mayBeGone = snapshot.removal.map { $0.issued < point } ?? false || isVolumeMaybeGone
        let isGone = snapshot.removal?.acknowledged.map { $0 < point } ?? false || isVolumeGone
        let full = volumeNames.map { "\($0)@\(snapshot.name)" }
        names = snapshot.isPrefix ? [] : Set(full)
        prefixes = snapshot.isPrefix ? full : []
        mustExist = isAcknowledged && !mayBeGone
        mayExist = !isGone
        isSnapshot = true
        candidates = snapshot.candidates(of: volume, at: point)
    }
}

extension VolumeHistory {
    func possibleNames(at point: Int) -> Set<String> {
        let first = names.lastIndex { $0.asked.acknowledged.map { $0 < point } ?? false } ?? 0
        return Set(names[first...].filter { $0.asked.issued < point }.map(\.name))
    }
    func isSurelyOwned(by host: Int, at point: Int) -> Bool {
        let first = owners.lastIndex { $0.asked.acknowledged.map { $0 < point } ?? false } ?? 0
        guard first < owners.count else { return true }
        return owners[first...].filter { $0.asked.issued < point }.allSatisfy { $0.host == host }
    }
    /// From the last version that the crash must not lose to the last that was begun.
    fileprivate func candidates(at point: Int, _ kind: CrashKind) -> [Contents] {
        let kind = isJournaled ? kind : kind.worse(.host)
        func isAlive(_ version: Version) -> Bool { version.deadAt.map { $0 >= point } ?? true }
        let least = versions.lastIndex { version in
            isAlive(version) && version.promised(kind).map { $0 < point } ?? false
        }
        let possible = versions[(least ?? 0)...].filter { $0.issued < point && isAlive($0) }.map(\.contents)
        return least ?? 0 == 0 ? possible + otherBases : possible
    }
}
