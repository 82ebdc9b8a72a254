public import Cache
public import Codec
public import ObjectStorage
public import SegmentLog
import StoreCore
import Synchronization

/// Where the records of repacked segments went: the reading side, for reads and for compaction.
///
/// A relocation never changes once it exists, so it is remembered; that there is none may change, and is asked again.
/// A target may have been repacked in its turn: readers follow from place to place. The mutex guards what is
/// remembered. Thread-safe.
public final class RelocationLog: Sendable {
    /// How often a record moves at most before it is left where it is; readers follow a few more.
    static let movesMax = 12
    /// Entries of remembered relocations, about 60 bytes each in memory.
    private static let entriesMax = 1 << 19

    private struct State {
        var known: [SegmentID: Relocation] = [:]
        var order: [SegmentID] = []
        var entries = 0
    }
    let store: any ObjectStore
    let keys: KeyRing
    private let state = Mutex(State())

    public init(store: any ObjectStore, keys: KeyRing) {
        self.store = store
        self.keys = keys
    }

    /// Where the records of `segment` went; nil where it was never repacked. One GET where it is not remembered.
    ///
    /// Throws `corrupt` for a record that is damaged or speaks of other contents, and what the store throws.
    public func relocation(of segment: SegmentReference) async throws -> Relocation? {
        if let known = state.withLock({ $0.known[segment.id] }) { return known }
        guard let record = try await Self.record(of: segment.id, store: store, keys: keys) else { return nil }
        guard record.victimHash == segment.contentHash else {
            throw StorageError.corrupt(
                RelocationRecord.key(of: segment.id).text, "it speaks of other contents of \(segment)",
                expected: "\(segment.contentHash)", actual: "\(record.victimHash)")
        }
        let relocation = record.relocation
        remember(relocation, of: segment.id)
        return relocation
    }

    /// Resolves places for a compaction; nil where nothing was ever repacked. One LIST now, and later one GET for each
    /// relocated segment that the compaction meets.
    ///
    /// A record that its relocation lacks stays where it is: no version needs it, something newer hides it.
    public func resolver() async throws -> (@Sendable (BlockLocation) async throws -> BlockLocation)? {
        let names = try await RelocationRecord.names(in: store)
        guard !names.isEmpty else { return nil }
        let resolution = Resolution(log: self, names: names)
        return { try await resolution.resolve($0) }
    }

    static func record(of victim: SegmentID, store: any ObjectStore, keys: KeyRing) async throws -> RelocationRecord? {
        let key = RelocationRecord.key(of: victim)
        do {
            return try RelocationRecord(opening: try await store.get(key), at: key, keys: keys)
        } catch  where error.storageCode == .notFound {
            return nil
        }
    }

    private func remember(_ relocation: Relocation, of segment: SegmentID) {
        state.withLock { state in
            guard state.known.updateValue(relocation, forKey: segment) == nil else { return }
            state.order.append(segment)
            state.entries += relocation.places.count + 1
            while state.entries > Self.entriesMax, state.order.count > 1 {
                let oldest = state.order.removeFirst()
                state.entries -= (state.known.removeValue(forKey: oldest)?.places.count ?? 0) + 1
            }
        }
    }
}

/// One compaction's view: which segments had a relocation when it began. The mutex guards the answers per segment.
private final class Resolution: Sendable {
    private let log: RelocationLog
    private let names: Set<Digest>
    /// Whether a segment has a relocation: a hash of its name is not computed for each extent.
    private let isRelocated = Mutex<[SegmentID: Bool]>([:])
    private static let answersMax = 1 << 16

    init(log: RelocationLog, names: Set<Digest>) {
        self.log = log
        self.names = names
    }

    func resolve(_ location: BlockLocation) async throws -> BlockLocation {
        var location = location
        for _ in 0...RelocationLog.movesMax + 4 {
            guard mayHaveMoved(location.segment.id), let relocation = try await log.relocation(of: location.segment),
                let place = relocation.places[location.record.position]
            else { return location }
            location = BlockLocation(
                segment: place.segment, record: place.record,
                blockOffset: UInt8(Int(location.blockOffset) + place.blockOffsetDelta))
        }
        throw StorageError.corrupt(location.segment.description, "its records moved in a circle")
    }

    private func mayHaveMoved(_ segment: SegmentID) -> Bool {
        if let known = isRelocated.withLock({ $0[segment] }) { return known }
        let found = names.contains(RelocationRecord.name(of: segment))
        isRelocated.withLock { answers in
            if answers.count >= Self.answersMax { answers.removeAll() }
            answers[segment] = found
        }
        return found
    }
}
