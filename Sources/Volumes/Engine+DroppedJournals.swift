import Journal
import Snapshots
import StoreCore
import Synchronization

/// Dropping a left journal, and what must not be dropped: a journal that an opening here writes to or may go on with.
extension Engine {
    /// Deletes a left journal for good. Throws `busy` while its volume is being opened, and for a journal that a volume
    /// which is served here still writes to, although it lost to another owner.
    public func dropJournal(_ id: String, force: Bool) async throws -> JournalReport {
        let found = try await leftJournal(id)
        guard force else {
            throw StorageError(
                .invalid, "journal \(id) may hold the only copy of writes that were answered: use --force to delete it")
        }
        return try await withoutOpenings(found) {
            // Looked for again: an opening may have ended since.
            let journal = try await leftJournal(id)
            try await endWriting(to: journal)
            let record = try await catalog.newest().volume(journal.volume)
            let report = try await report(journal, record, nil, nil)
            if let record { try await noteLoss(of: journal, record) }
            for generation in journal.generations { try await Journal.remove(generation, disk: context.disk) }
            return report
        }
    }

    /// Runs `body` while no opening of the journal's volume is under way nor begins.
    private func withoutOpenings<R>(_ journal: LeftJournal, _ body: () async throws -> R) async throws -> R {
        let volume = journal.volume
        try openVolumes.withLock { open in
            let isFree = !open.isClosed && !open.underWay.contains(volume) && !open.reserved.contains(volume)
            guard isFree, open.dropping.insert(volume).inserted else { throw Self.busy(journal) }
        }
        defer { openVolumes.withLock { _ = $0.dropping.remove(volume) } }
        return try await body()
    }
    /// Gives a volume up that has failed with this journal; throws `busy` where it has not.
    private func endWriting(to journal: LeftJournal) async throws {
        guard let opening = openVolumes.withLock({ $0.openings[journal.volume] }),
            case .success(let volume) = await opening.result, volume.journal?.token == journal.token
        else { return }
        guard volume.failure != nil else { throw Self.busy(journal) }
        await dropFailed(journal.volume, opening)
    }

    /// An opening here writes to it, or is under way and may have made it.
    func isInUse(_ journal: LeftJournal) async -> Bool {
        let mayChange = openVolumes.withLock { open in
            open.underWay.contains(journal.volume) || open.reserved.contains(journal.volume)
        }
        if mayChange { return true }
        return await openVolume(journal.volume)?.journal?.token == journal.token
    }
    static func busy(_ journal: LeftJournal) -> StorageError {
        StorageError(
            .busy,
            """
            journal \(journal.id) is in use: its volume is being opened, rolled back or deleted here, the journal is \
            being dropped, or an opening that has not noticed yet that it lost the volume serves it; try again later
            """)
    }

    /// The journal is what the next opening would know by that the clients of then may live on.
    private func noteLoss(of journal: LeftJournal, _ record: VolumeRecord) async throws {
        guard let directory = context.journalDirectory else { return }
        let next = try await manifest(of: record).epoch.next
        var last: JournalGeneration?
        for generation in journal.generations where !generation.isLossNoted {
            if try await EarlierJournals.mayHaveAnswered(generation, context, newest: next) { last = generation }
        }
        guard let last else { return }
        let run = try await context.disk.bootID()
        do {
            let known = try await LossRecord.load(directory: directory, volume: journal.volume, disk: context.disk)
            // One of this run of the machine concerns more clients than any other.
            if let known, known.bootID == run || last.bootID != run { return }
        } catch  where error.storageCode == .corrupt {
            // It concerns everybody.
            return
        }
        try await LossRecord(outlived: last, at: context.time.now())
            .save(directory: directory, volume: journal.volume, disk: context.disk)
    }
}
