public import StoreCore

extension ManifestLog {
    /// Claims the volume for writing: the next epoch, under `token`.
    ///
    /// A volume that another token holds unreleased is `busy`, unless `takeOver` is true or the token is one of
    /// `ownTokens`. Taking over means the owner that is seen first: one that appears meanwhile is `busy` again, so that
    /// of two who take over at once one wins and the other is told. Every epoch is given to exactly one claim.
    ///
    /// - Parameters:
    ///   - token: fresh, and fsynced in the claimer's journal before it calls.
    ///   - continues: the claimer's journals hold writes under `token`. They follow the log only if nobody else owned
    ///     the volume since: one that did, and released it, ended them, and the claim is `busy`.
    ///   - ownTokens: of earlier openings by the same data directory, as its journals hold them.
    /// - Returns: the manifest of the new epoch, and who owned the volume before.
    public func claim(
        token: OwnerToken, host: String, takeOver: Bool, continues: Bool = false, ownTokens: Set<OwnerToken> = []
    ) async throws -> (manifest: Manifest, previousOwner: Owner?) {
        let operation = OperationID.random()
        var ousted: OwnerToken?
        var previous: Owner?
        let made = try await log.commit(operation) { base, isCurrent in
            let base = try existing(base)
            try requireLive(base)
            previous = base.owner
            if continues, base.owner?.token != token {
                guard isCurrent else { return .lookFirst }
                throw StorageError(.busy, "\(label) changed hands while it was being opened: try again")
            }
            if let owner = base.owner, !owner.isReleased, owner.token != token, !ownTokens.contains(owner.token) {
                guard takeOver, ousted == nil || ousted == owner.token else {
                    // "Busy" is said of the newest manifest only; the owner may have released it since.
                    guard isCurrent else { return .lookFirst }
                    throw busy(base, owner)
                }
                ousted = owner.token
            }
            return .write(try draft(claiming(base, Owner(token: token, host: host, since: time.now())), operation))
        }
        return (try existing(made), previous)
    }

    private func claiming(_ base: Manifest, _ owner: Owner) -> Manifest {
        var next = base.next(at: time.now())
        next.epoch = base.epoch.next
        next.openEpochs.append(next.epoch)
        next.owner = owner
        return next
    }

    private func busy(_ manifest: Manifest, _ owner: Owner) -> StorageError {
        StorageError(
            .busy,
            """
            \(label) is open for writing by \(owner.host) since \(owner.since.utcText), last heard of at \
            \(manifest.created.utcText): stop it there, or use --take-over if that machine is gone for good
            """)
    }
}
