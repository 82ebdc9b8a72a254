import BlockMap
import Codec
import Journal
import Logging
import ObjectStorage
import Snapshots
import StoreCore

/// What a crash or a take-over left: losses to accept, and journals of owners that lost a volume.
extension Engine {
    /// An operator says that no client is left which believes in writes that a crash undid: all are served again.
    /// Recovers the volume first where that has not happened. Harmless where nothing was lost.
    public func accept(_ name: String) async throws -> AcceptedReport {
        let record = try await catalog.newest().resolve(VolumeReference(volume: name)).volume
        let volume = try await open(record)
        guard let loss = try await volume.acceptLoss(within: settings.volume.commandDeadline) else {
            return AcceptedReport(name: record.name, wasLost: false)
        }
        return AcceptedReport(name: record.name, wasLost: true, noticed: loss.time.utcText, reason: loss.reason)
    }

    /// The journals in this data directory whose owner lost the volume. Reads each of them. Those that an opening here
    /// writes to, or may go on with, are not among them.
    public func journals() async throws -> [JournalReport] {
        let known = try await catalog.newest()
        var reports: [JournalReport] = []
        for journal in try await leftJournals() {
            if await isInUse(journal) { continue }
            let record = known.volume(journal.volume)
            var base: JournalBase?
            var owner: Owner?
            if let record {
                base = try await knownBase(of: journal, record, known)
                owner = try await manifest(of: record).owner
            }
            reports.append(try await report(journal, record, base, owner))
        }
        return reports
    }

    /// nil also where it cannot be told now: one journal does not hide the others.
    private func knownBase(
        of journal: LeftJournal, _ record: VolumeRecord, _ known: CatalogState
    ) async throws -> JournalBase? {
        do { return try await base(of: journal, record, known) } catch
            where [.busy, .corrupt, .denied, .notFound].contains(error.storageCode)
        {
            log.warning("journal \(journal.id): what the store lacks of it cannot be told: \(error)")
            return nil
        }
    }
    private func base(
        of journal: LeftJournal, _ record: VolumeRecord, _ known: CatalogState
    ) async throws -> JournalBase? {
        try await noticingGC(of: record, since: known) {
            try await JournalBase.find(for: journal, of: record, in: known, context)
        }
    }

    /// What `body` misses of a volume is no damage where gc passed by, or a snapshot went, since the catalog was read.
    /// Then it throws an error with `isBelowFloor`.
    private func noticingGC<R>(
        of record: VolumeRecord, since known: CatalogState, _ body: () async throws -> R
    ) async throws -> R {
        do { return try await body() } catch  where [.corrupt, .notFound].contains(error.storageCode) {
            let newest = try await catalog.newest()
            let isAsKnown =
                newest.volume(record.id)?.manifestFloor == record.manifestFloor
                && newest.snapshots(of: record.id) == known.snapshots(of: record.id)
            guard !isAsKnown else { throw error }
            throw StorageError.belowFloor("what gc keeps of volume '\(record.name)' has changed meanwhile")
        }
    }

    func report(
        _ journal: LeftJournal, _ record: VolumeRecord?, _ base: JournalBase?, _ owner: Owner?
    ) async throws -> JournalReport {
        var report = JournalReport(
            id: journal.id, volume: record?.name, volumeID: "\(journal.volume)",
            epoch: journal.generations.last?.epoch.value ?? 0, created: journal.generations[0].created.utcText,
            owner: owner.flatMap { $0.isReleased ? nil : $0.host }, writes: 0, bytes: 0,
            writesMissing: base.map { _ in 0 }, bytesMissing: base.map { _ in 0 }, isComplete: true, diskBytes: 0)
        for generation in journal.generations {
            do {
                let summary = try await Journal.read(generation, keys: keys, disk: context.disk) { entry in
                    report.add(entry, after: base?.write)
                }
                report.isComplete = report.isComplete && summary.isComplete
            } catch  where error.storageCode == .denied {
                // Its data key was retired by another host, which cannot see it: others are listed, and it can go.
                log.warning("journal \(journal.id) cannot be read any more: \(error)")
                (report.isComplete, report.writesMissing, report.bytesMissing) = (false, nil, nil)
            }
            for file in generation.files {
                report.diskBytes += UInt64(try await context.disk.open("\(generation.path)/\(file.hex)").byteCount)
            }
        }
        return report
    }

    /// Brings the writes of a left journal back as a new volume: the state that they go on from (`JournalBase`), and
    /// then each of them. The journal stays. Nothing is seen of it before it is whole; after a crash it is made anew.
    public func branch(fromJournal id: String, to new: String) async throws -> VolumeReport {
        try Self.check(name: new)
        let journal = try await leftJournal(id)
        guard await !isInUse(journal) else { throw Self.busy(journal) }
        return try await retryingBelowFloor {
            let known = try await self.catalog.newest()
            guard known.volume(named: new) == nil else {
                throw StorageError(.alreadyExists, "there is a volume '\(new)' already")
            }
            guard let source = known.volume(journal.volume) else {
                throw StorageError(.notFound, "the volume of journal \(id) was deleted: nothing is left to go on from")
            }
            guard let base = try await self.base(of: journal, source, known) else {
                throw StorageError(
                    .notFound, "the state of '\(source.name)' that journal \(id) goes on from was given up by gc")
            }
            let lineage = Lineage(volume: source.id, volumeName: source.name, time: base.time)
            let record = VolumeRecord(
                id: .random(), name: new, created: self.context.time.now(), parent: lineage)
            let sealedUnder = self.keys.currentKeyID
            do {
                let size = try await self.noticingGC(of: source, since: known) {
                    try await self.fill(record, base, journal)
                }
                try await self.catalog.commit { [keys = self.keys] editor in
                    try editor.requireKey(sealedUnder, of: keys)
                    try editor.addBranch(record, of: base.source, bornAt: known.number)
                }
                return VolumeReport(of: record, sizeBytes: size)
            } catch {
                self.marks.forget(record.id)
                throw error
            }
        }
    }

    // MARK: Finding

    private func leftJournals() async throws -> [LeftJournal] {
        try await LeftJournal.all(context) { volume in
            try await ManifestLog(volume: volume, store: store, keys: keys, time: context.time).newest()
        }
    }
    /// By its id, or a beginning of it that no other has.
    func leftJournal(_ id: String) async throws -> LeftJournal {
        guard id.utf8.count >= 4 else {
            throw StorageError(.invalid, "'\(id)' is too short: give four characters of a journal's id or more")
        }
        let found = try await leftJournals().filter { $0.id.hasPrefix(id.lowercased()) }
        guard let journal = found.first else {
            throw StorageError(.notFound, "there is no left-over journal '\(id)' here: see `zerofs journals`")
        }
        guard found.count == 1 else {
            throw StorageError(.invalid, "'\(id)' is the beginning of several journals: give more of it")
        }
        return journal
    }

    // MARK: Filling

    /// Makes a volume of a base and a journal's writes, which nothing names yet. Returns its size.
    private func fill(_ record: VolumeRecord, _ base: JournalBase, _ journal: LeftJournal) async throws -> UInt64 {
        var state = base.state
        for run in try await runs(of: base, for: record.id) {
            _ = try await store.create(run.key, run.bytes, sha256: run.objectHash)
            state.map = state.map.adding(level0: [run.reference])
        }
        let manifests = ManifestLog(volume: record.id, store: store, keys: keys, time: context.time)
        _ = try await manifests.create(state.startingNewVolume(), parent: journal.volume)
        var settings = settings.volume
        // The journal that is read stays: nothing of this needs another one.
        (settings.durability, settings.isJournaled) = (.store, false)
        settings.storeDeadline = settings.commandDeadline
        let volume = try await Volume.open(
            name: record.name, id: record.id, settings: settings, context: context, marks: marks, takeOver: false)
        do {
            try await volume.append(journal, after: base.write)
        } catch {
            await volume.abandon(deletingJournal: true)
            throw error
        }
        try await volume.close(within: settings.commandDeadline)
        return volume.size
    }

    private func runs(of base: JournalBase, for volume: VolumeID) async throws -> [SealedRun] {
        guard let tail = base.tail else { return [] }
        return try await context.workers.run { [keys] in
            try RunBuilder.build(tail, volume: volume, epoch: Epoch(0), keys: keys)
        }
    }
}

extension Volume {
    /// Applies what a journal of another volume's opening holds after a write.
    fileprivate func append(_ journal: LeftJournal, after write: WriteSequence) async throws {
        var last = write
        for generation in journal.generations {
            try await Journal.read(generation, keys: context.keys, disk: context.disk) { entry in
                guard entry.sequence > last else { return }
                guard entry.sequence == last.next else {
                    throw StorageError.corrupt(
                        generation.path, "it goes on with write \(entry.sequence), the store ends before \(last.next)")
                }
                last = entry.sequence
                try await self.apply(entry.operation)
            }
        }
        try await flushToStore()
    }
    private func apply(_ operation: JournalOperation) async throws {
        try await applyWaiting {
            switch operation {
            case .write(let range, let bytes):
                try bytes.withUnsafeBytes { try self.apply(.write(range, $0), holding: nil) }
            case .zero(let range): try self.apply(.zero(range), holding: nil)
            case .resize(let bytes): try self.apply(.resize(bytes), holding: nil)
            }
        }
    }
}

extension JournalReport {
    fileprivate mutating func add(_ entry: JournalEntry, after base: WriteSequence?) {
        var byteCount: UInt64 = 0
        if case .write(_, let content) = entry.operation { byteCount = UInt64(content.count) }
        writes += 1
        bytes += byteCount
        guard let base, entry.sequence > base else { return }
        writesMissing = (writesMissing ?? 0) + 1
        bytesMissing = (bytesMissing ?? 0) + byteCount
    }
}
