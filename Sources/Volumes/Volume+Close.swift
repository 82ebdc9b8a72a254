import Journal
import Logging
import Snapshots
import StoreCore
import Synchronization
import Uploader

extension Volume {
    /// Ends service cleanly: everything goes to the bucket, the manifest covers it and is released, and the journal is
    /// no longer needed. Where that fails the volume is abandoned as a crash would leave it, and the error is thrown.
    /// A journal that cannot be removed is no failure: the manifest says that all of it is in the bucket, and the next
    /// opening removes it.
    ///
    /// - Parameters:
    ///   - limit: how long it may take. Then the volume is abandoned; what is under way may still succeed, and releases
    ///     only what is in the bucket. nil waits for ever.
    ///   - replacing: changes the last manifest, once it covers everything: a rollback.
    func close(
        within limit: Duration? = nil, replacing: @escaping @Sendable (inout Manifest) -> Void = { _ in }
    ) async throws {
        refuseWrites()
        do {
            try await value(of: Task { try await release(replacing) }, within: limit)
        } catch {
            await abandon()
            throw error
        }
        await stop()
        await endTrace(deleting: true)
    }

    private func release(_ replacing: @escaping @Sendable (inout Manifest) -> Void) async throws {
        try await checkpointNow(within: nil)
        // No compaction may commit behind the release: it would edit the map that a rollback put in place.
        try await endCheckpoints()
        let released = try await persisting {
            // After an answer that got lost it is in force already, and is made again: the epoch is still ours, so
            // that nothing came in between.
            try await self.manifests.commit(as: self.epoch) { manifest in
                for closing in self.closings { try manifest.close(closing.epoch, at: closing.end) }
                replacing(&manifest)
                manifest.release()
            }
        }
        state.withLock { $0.releasedNumber = released.number }
    }

    /// From now on writes are refused; what was written is still read, flushed and captured.
    func refuseWrites() { state.withLock { $0.isClosing = true } }

    /// Ends service at once: what is not in the bucket stays in the journal.
    ///
    /// - Parameter deletingJournal: it holds nothing, and an older one has its token.
    func abandon(deletingJournal: Bool = false) async {
        fail(StorageError(.cancelled, "volume \(name) was closed"))
        // A compaction under way is of no use any more.
        for task in tasks.withLock({ $0 }) { task.cancel() }
        await stop()
        await endTrace(deleting: deletingJournal)
    }

    /// Returns when all that was written is encoded, in the manifest, and compacted as far as it will be.
    private func endCheckpoints() async throws {
        finishStreams()
        for task in tasks.withLock({ $0 }) { await task.value }
        if let failure { throw failure }
    }

    /// When it returns nothing of this opening runs any more, so that the next one has the journals to itself.
    private func stop() async {
        finishStreams()
        await uploader.stop()
        for task in tasks.withLock({ $0 }) { await task.value }
    }

    private func finishStreams() {
        sealedBuffers.finish()
        frozenMemtables.finish()
        compactions.finish()
    }
}
