import Journal
import Logging
import Snapshots
import StoreCore
import Synchronization

/// Writes that were answered and may be gone (docs/architecture.md, "After a loss").
///
/// Whoever mounted the volume before believes in them; served as if all were well it would mix two states of one file
/// system. So the loss is written down before its evidence goes, and clients that may have survived are refused until
/// an operator says that none is left.
extension Volume {
    /// Notes what this opening found missing, or what an earlier one did.
    ///
    /// - Parameters:
    ///   - incomplete: a journal of the volume's that may lack writes which were answered.
    ///   - outlived: openings of this data directory that lost the volume to another, not yet reckoned with.
    ///   - ousted: who held the volume until this opening took it over.
    ///   - continues: an opening before this one had claimed the volume, under the same token.
    func note(
        _ incomplete: JournalGeneration?, _ outlived: [JournalGeneration], _ ousted: Owner?, continues: Bool
    ) async throws {
        guard let directory = context.journalDirectory else { return }
        let run = try await context.disk.bootID()
        var known = try await record(.noticed, directory, run)
        let earlier = outlived.last.map { LossRecord(outlived: $0, at: context.time.now()) }
        // The opening that this one goes on with may have taken the volume over, and then have come to nothing.
        let brokenOff = continues ? try await record(.takeOver, directory, run) : nil
        if var found = loss(incomplete, ousted, run) ?? brokenOff ?? earlier {
            event(.writesLost, found.reason)
            // Whom an earlier loss concerns, this one does not release.
            if known?.bootID == run || outlived.contains(where: { $0.bootID == run }) { found.bootID = run }
            try await found.save(directory: directory, volume: id, disk: context.disk)
            known = found
        }
        for generation in outlived { try await Journal.noteLoss(of: generation, disk: context.disk) }
        if let ousted { event(.takenOver, details: ["from": ousted.host], "the volume was taken over") }
        state.withLock { state in
            state.ousted = ousted?.token ?? brokenOff?.ousted
            state.loss = known
        }
    }

    /// Once the loss of a take-over is written down and its snapshot was made, or tried: nothing needs the note then.
    func forgetTakeOver() async throws {
        guard let directory = context.journalDirectory else { return }
        try await LossRecord.remove(.takeOver, directory: directory, volume: id, disk: context.disk)
    }

    /// Before a client is served: what is answered from now on without a journal may be lost. An opening that serves
    /// none leaves nothing that says so.
    func beginAnswering() async throws {
        try await answeringLock.withLock {
            guard !state.withLock({ $0.isAnswering }) else { return }
            if let failure { throw failure }
            guard !state.withLock({ $0.isClosing }) else {
                throw StorageError(.busy, "volume '\(name)' is being closed: try again")
            }
            try await trace.beginAnswering(context.disk)
            state.withLock { $0.isAnswering = true }
        }
    }

    /// Behind the last client: what `beginAnswering` leaves cannot come back once it was removed.
    func endTrace(deleting: Bool) async {
        await answeringLock.withLock { await trace.end(deleting: deleting, context) }
    }

    /// A record that cannot be read counts as one that concerns everybody.
    private func record(_ kind: LossRecord.Kind, _ directory: String, _ run: UInt128) async throws -> LossRecord? {
        do { return try await LossRecord.load(kind, directory: directory, volume: id, disk: context.disk) } catch
            where error.storageCode == .corrupt
        {
            return LossRecord(
                time: context.time.now(), bootID: run, epoch: epoch, reason: "\(error)")
        }
    }

    private func loss(_ incomplete: JournalGeneration?, _ ousted: Owner?, _ run: UInt128) -> LossRecord? {
        let now = context.time.now()
        if let incomplete {
            let why = incomplete.kind == .unjournaled ? "there is no journal of them" : "the journal is not whole"
            return LossRecord(
                time: now, bootID: incomplete.bootID, epoch: epoch,
                reason: """
                    writes that were answered since the last flush before a crash may be lost (\(why)): every flushed \
                    write is there
                    """)
        }
        return ousted.map { LossRecord(ousting: $0, epoch: epoch, run: run, context) }
    }

    /// An operator says that no client goes on with what it believes was written. What the loss was told by goes first,
    /// so that it is not found again. Throws `unavailable` where the store does not answer in time.
    ///
    /// - Returns: what was accepted; nil where there was nothing.
    func acceptLoss(within limit: Duration?) async throws -> LossRecord? {
        guard let directory = context.journalDirectory, let loss = state.withLock({ $0.loss }) else { return nil }
        try await value(of: Task { try await finishReplayed() }, within: limit)
        // Where the volume has ended the record is its successor's.
        if let failure { throw failure }
        try await forgetLoss(directory)
        return loss
    }
    private func forgetLoss(_ directory: String) async throws {
        try await LossRecord.remove(directory: directory, volume: id, disk: context.disk)
        let known = state.withLock { state in
            defer { state.loss = nil }
            return state.loss
        }
        if known != nil { event(.lossAccepted, "the loss was accepted: all clients are served again") }
    }

    /// Throws `denied` to a client that may still believe in writes which are gone.
    func admit(_ client: DeviceClient, _ policy: AfterCrash, bootID: UInt128) throws {
        guard policy != .serve, let loss = state.withLock({ $0.loss }) else { return }
        // A client on this machine ended with it, where the machine was started anew since.
        if policy == .local, client.isLocal, loss.bootID != bootID { return }
        throw StorageError(
            .denied,
            """
            volume '\(name)' is not served to this client: \(loss.reason). If no client is left that had it attached \
            before (unmounted, or started anew), say so with `zerofs accept \(name)`
            """)
    }

    /// Starts to remove the journals that were replayed, once their writes are in the bucket.
    func removeReplayed(_ generations: [JournalGeneration]) {
        guard !generations.isEmpty else { return }
        state.withLock { $0.replayed = generations }
        let removal = Task {
            do { try await finishReplayed() } catch {
                context.log.warning("\(name): an older journal is kept: \(error)")
            }
        }
        tasks.withLock { $0.append(removal) }
    }
    /// However long it takes: it ends with the volume. Who must not wait bounds it.
    private func finishReplayed() async throws {
        try await replayedLock.withLock {
            let generations = state.withLock { $0.replayed }
            guard !generations.isEmpty else { return }
            try await flushToStore(within: nil)
            for generation in generations { try await Journal.remove(generation, disk: context.disk) }
            state.withLock { $0.replayed = [] }
        }
    }
}

extension LossRecord {
    /// Of a volume that is taken over from an owner that did not release it.
    fileprivate init(ousting owner: Owner, epoch: Epoch, run: UInt128, _ context: VolumeContext) {
        self.init(
            // Clients of an owner that ran on this machine end with this run of it at the latest.
            time: context.time.now(), bootID: owner.host == context.host ? run : 0, epoch: epoch,
            ousted: owner.token,
            reason: """
                the volume was taken over from \(owner.host), which may have answered writes that are not in the store
                """)
    }

    /// Before a claim: notes what it takes over, should the opening end between the claim and its last step. A claim
    /// that takes nothing over leaves no note, unless an earlier one may take place yet.
    ///
    /// - Parameters:
    ///   - takesOver: nothing here shows that the volume is this data directory's already, and the claim is told to
    ///     take it over.
    ///   - foreign: journals that do not hold the owner's token.
    static func prepare(
        _ current: Manifest, takesOver: Bool, foreign: [JournalGeneration], _ context: VolumeContext
    ) async throws {
        guard let directory = context.journalDirectory else { return }
        guard takesOver, let owner = current.owner, !owner.isReleased else {
            guard !foreign.contains(where: { $0.mayClaim(after: current) }) else { return }
            return try await remove(.takeOver, directory: directory, volume: current.volume, disk: context.disk)
        }
        let run = try await context.disk.bootID()
        try await LossRecord(ousting: owner, epoch: current.epoch.next, run: run, context)
            .save(.takeOver, directory: directory, volume: current.volume, disk: context.disk)
    }
}
