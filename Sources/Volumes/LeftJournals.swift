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

    func removeFinished(from disk: any LocalDisk) async throws {
        for generation in finished { try await Journal.remove(generation, disk: disk) }
    }
}
