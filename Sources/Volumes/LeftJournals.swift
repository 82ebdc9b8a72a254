import Journal
import Snapshots
import StoreCore

/// The journals that earlier openings of a volume left in this data directory.
struct LeftJournals {
    /// Hold the current owner's token: their writes are this volume's, and were perhaps acknowledged. Oldest first.
    var continuing: [JournalGeneration] = []
    /// Of an owner that has released the volume: all of it is in the bucket.
    var finished: [JournalGeneration] = []
    /// Of an owner that lost the volume to another: kept and reported, never replayed.
    var foreign: [JournalGeneration] = []

    static func find(for manifest: Manifest, context: VolumeContext) async throws -> LeftJournals {
        guard let directory = context.journalDirectory else { return LeftJournals() }
        var left = LeftJournals()
        let generations = try await Journal.generations(
            directory: directory, volume: manifest.volume, disk: context.disk)
        for generation in generations {
            switch manifest.owner {
            case let owner? where owner.token == generation.token && owner.isReleased: left.finished.append(generation)
            case let owner? where owner.token == generation.token: left.continuing.append(generation)
            default: left.foreign.append(generation)
            }
        }
        return left
    }

    /// Reports the journals of owners that lost the volume; of what never held a write nothing is kept.
    func settleForeign(_ name: String, _ context: VolumeContext) async throws {
        for generation in foreign {
            guard generation.kind == .journaled else {
                try await Journal.remove(generation, disk: context.disk)
                continue
            }
            context.event(
                .journalKept, volume: name, details: ["journal": LeftJournal.id(of: generation)],
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
