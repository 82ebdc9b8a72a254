import Journal
import Logging
import Snapshots
import StoreCore

/// What an opening leaves in the data directory before it claims a volume, so that the next one knows it for its own:
/// a journal, or a mark where none is kept.
struct OpeningTrace: Sendable {
    var journal: Journal?
    var mark: JournalGeneration?

    /// Durable when it returns.
    static func begin(
        _ token: OwnerToken, _ current: Manifest, _ settings: VolumeSettings, _ context: VolumeContext
    ) async throws -> OpeningTrace {
        guard settings.isJournaled, let directory = context.journalDirectory else {
            guard settings.durability == .store else {
                throw StorageError(.invalid, "durability = \"journal\" needs a data directory for the journal")
            }
            return try await marking(token, current, context)
        }
        return OpeningTrace(
            journal: try await Journal.create(
                directory: directory, volume: current.volume, token: token, epoch: current.epoch.next,
                keys: context.keys,
                limits: JournalLimits(fileBytes: settings.journalFileBytes, bytesMax: Int(settings.journalBytes)),
                disk: context.disk, time: context.time))
    }
    /// That the volume is claimed, and nothing of it answered.
    static func marking(
        _ token: OwnerToken, _ current: Manifest, _ context: VolumeContext
    ) async throws -> OpeningTrace {
        guard let directory = context.journalDirectory else { return OpeningTrace() }
        return OpeningTrace(
            mark: try await Journal.mark(
                JournalClaim(of: current.volume, token: token, epoch: current.epoch.next),
                directory: directory, disk: context.disk, time: context.time))
    }

    /// A client is about to be served: what is answered without a journal may be lost. Not before: an opening that
    /// answered nobody would be taken for one that lost writes.
    func beginAnswering(_ disk: any LocalDisk) async throws {
        if let mark { try await Journal.noteAnswers(under: mark, disk: disk) }
    }

    /// Where the disk refuses, more stays than must; the next opening sees by the manifest what it is.
    ///
    /// - Parameter deleting: nothing in it is needed any more. Otherwise it stays as a crash would leave it, but for
    ///   the journal's closing entry.
    func end(deleting: Bool, _ context: VolumeContext) async {
        do {
            try await journal?.close(deleting: deleting)
            if deleting, let mark { try await Journal.remove(mark, disk: context.disk) }
        } catch {
            let what = deleting ? "was not removed" : "did not close in order"
            context.log.warning("the journal \(journal?.path ?? mark?.path ?? "") \(what): \(error)")
        }
    }
}
