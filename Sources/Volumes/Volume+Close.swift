import Journal
import Logging
import Snapshots
import StoreCore
import Synchronization
import Uploader

extension Volume {
    /// Ends service cleanly: everything goes to the bucket, the manifest covers it and is released, and the journal is
    /// no longer needed. Where that fails the volume is abandoned as a crash would leave it, and the error is thrown.
    ///
    /// - Parameter replacing: changes the last manifest, once it covers everything: a rollback.
    func close(replacing: @escaping @Sendable (inout Manifest) -> Void = { _ in }) async throws {
        refuseWrites()
        do {
            try await checkpointNow()
            _ = try await persisting {
                try await self.manifests.commit(as: self.epoch) { manifest in
                    for closing in self.closings { try manifest.close(closing.epoch, at: closing.end) }
                    guard manifest.owner?.isReleased == false else { return }
                    replacing(&manifest)
                    manifest.release()
                }
            }
            await stop()
            try await journal?.close(deleting: true)
        } catch {
            await abandon()
            throw error
        }
    }

    /// From now on writes are refused; what was written is still read, flushed and captured.
    func refuseWrites() { state.withLock { $0.isClosing = true } }

    /// Ends service at once: what is not in the bucket stays in the journal.
    func abandon() async {
        fail(StorageError(.cancelled, "volume \(name) was closed"))
        await stop()
        do { try await journal?.close(deleting: false) } catch {
            context.log.warning("\(name): the journal did not close: \(error)")
        }
    }

    /// When it returns nothing of this opening runs any more, so that the next one has the journals to itself.
    private func stop() async {
        sealedBuffers.finish()
        frozenMemtables.finish()
        await uploader.stop()
        for task in tasks.withLock({ $0 }) { await task.value }
    }
}
