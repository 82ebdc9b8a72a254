import Journal
import Snapshots
import StoreCore

/// The journals that earlier openings of a volume left in this data directory.
struct EarlierJournals {
    /// Hold the current owner's token: their writes are this volume's, and were perhaps acknowledged. Oldest first.
    var continuing: [JournalGeneration] = []
    /// Of an owner that has released the volume: all of it is in the bucket.
    var finished: [JournalGeneration] = []
    /// Of an owner that lost the volume to another: kept and reported, never replayed.
    var foreign: [JournalGeneration] = []

    static func find(for manifest: Manifest, context: VolumeContext) async throws -> EarlierJournals {
        guard let directory = context.journalDirectory else { return EarlierJournals() }
        var earlier = EarlierJournals()
        let generations = try await Journal.generations(
            directory: directory, volume: manifest.volume, disk: context.disk)
        for generation in generations {
            switch manifest.owner {
            case let owner? where owner.token == generation.token && owner.isReleased:
                earlier.finished.append(generation)
            case let owner? where owner.token == generation.token: earlier.continuing.append(generation)
            default: earlier.foreign.append(generation)
            }
        }
        return earlier
    }

    /// Openings of this data directory that answered clients and then lost the volume to another, as far as nobody has
    /// reckoned with that yet: their clients may have lived on, whoever owned the volume meanwhile and released it.
    ///
    /// - Parameter newest: this opening's epoch.
    func outlived(_ context: VolumeContext, newest: Epoch) async throws -> [JournalGeneration] {
        var found: [JournalGeneration] = []
        for generation in foreign where !generation.isLossNoted {
            if try await Self.mayHaveAnswered(generation, context, newest: newest) { found.append(generation) }
        }
        return found
    }
    /// An opening whose claim came to nothing has answered nobody, and an empty journal shows it.
    ///
    /// - Parameter newest: the lowest epoch that no claim which took place before can have.
    static func mayHaveAnswered(
        _ generation: JournalGeneration, _ context: VolumeContext, newest: Epoch
    ) async throws -> Bool {
        switch generation.kind {
        case .claim: return false
        case .unjournaled: return true
        case .journaled:
            let (isEmpty, isComplete) = try await contents(of: generation, context)
            // A crash of the host may have emptied it, unless it never came into use.
            return !isEmpty || !(isComplete || generation.claimFailed(asOf: newest))
        }
    }
    /// What cannot be read may hold anything.
    private static func contents(
        of generation: JournalGeneration, _ context: VolumeContext
    ) async throws -> (isEmpty: Bool, isComplete: Bool) {
        // Files go from the front, and only what held entries.
        guard generation.files.first ?? 1 == 1 else { return (false, false) }
        do {
            let summary = try await Journal.read(generation, keys: context.keys, disk: context.disk) { _ in }
            return (summary.entries == 0 && summary.tornBytes == 0, summary.isComplete)
        } catch  where [.denied, .corrupt, .unsupported].contains(error.storageCode) {
            return (false, false)
        }
    }
    /// A claim that failed has an empty journal. One that holds writes shows that the store was set back since.
    private static func cameToNothing(
        _ generation: JournalGeneration, _ context: VolumeContext, newest: Epoch
    ) async throws -> Bool {
        guard generation.claimFailed(asOf: newest) else { return false }
        return try await contents(of: generation, context).isEmpty
    }

    /// Reports the journals of owners that lost the volume; of what never held a write nothing is kept.
    func settleForeign(_ name: String, _ context: VolumeContext, newest: Epoch) async throws {
        for generation in foreign {
            guard generation.kind == .journaled, try await !Self.cameToNothing(generation, context, newest: newest)
            else {
                try await Journal.remove(generation, disk: context.disk)
                continue
            }
            context.event(
                .journalKept, volume: name, details: ["journal": LeftJournal.id(of: generation.token)],
                """
                the journal \(generation.path) belongs to an opening that lost the volume, and may hold writes that \
                the store lacks; it is kept: see `zerofs journals`
                """)
        }
    }

    func removeFinished(from disk: any LocalDisk) async throws {
        for generation in finished { try await Journal.remove(generation, disk: disk) }
    }
}

extension JournalGeneration {
    /// Whether its claim never took place in this history of the store: a claim takes the epoch that the generation
    /// names or a later one, and `newest`, the newest there is, is another's.
    func claimFailed(asOf newest: Epoch) -> Bool { epoch >= newest }
    /// Whether its claim may take place yet, with `current` as the newest manifest.
    func mayClaim(after current: Manifest) -> Bool { epoch > current.epoch }
}

extension LossRecord {
    /// Of an opening that lost the volume to another, and whose clients may have lived on.
    init(outlived generation: JournalGeneration, at time: Timestamp) {
        self.init(
            time: time, bootID: generation.bootID, epoch: generation.epoch,
            reason: """
                another writer has owned the volume since this data directory served it: what was answered here then \
                may not be in the store, and what the other wrote was not seen by the clients of then
                """)
    }
}
