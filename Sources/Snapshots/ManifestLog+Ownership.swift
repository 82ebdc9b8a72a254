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
    ///   - ownTokens: of earlier openings by the same data directory, as its journals hold them.
    /// - Returns: the manifest of the new epoch, and who owned the volume before.
    public func claim(
        token: OwnerToken, host: String, takeOver: Bool, ownTokens: Set<OwnerToken> = []
    ) async throws -> (manifest: Manifest, previousOwner: Owner?) {
        let operation = OperationID.random()
        var ousted: OwnerToken?
        var previous: Owner?
        let made = try await log.commit(operation) { base, isCurrent in
            // Busy, or free, is said of the newest manifest only.
            guard isCurrent else { return .lookFirst }
            let base = try existing(base)
            try requireLive(base)
            previous = base.owner
            if let owner = base.owner, !owner.isReleased, owner.token != token, !ownTokens.contains(owner.token) {
                guard takeOver, ousted == nil || ousted == owner.token else { throw busy(base, owner) }
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
            volume \(volume) is open for writing by \(owner.host) since \(owner.since.utcText), last heard of at \
            \(manifest.created.utcText): stop it there, or use --take-over if that machine is gone for good
            """)
    }
}

extension Timestamp {
    /// `2026-11-22T21:33:10Z`; the civil calendar by Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    var utcText: String {
        func floorDivide(_ a: Int64, _ b: Int64) -> Int64 { a / b - (a % b < 0 ? 1 : 0) }
        func pad(_ value: Int64, _ width: Int = 2) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(width - text.utf8.count, 0)) + text
        }
        let seconds = floorDivide(nanoseconds, 1_000_000_000)
        let days = floorDivide(seconds, 86_400)
        let inDay = seconds - days * 86_400
        let shifted = days + 719_468
        let era = floorDivide(shifted, 146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let month = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * month + 2) / 5 + 1
        let civilMonth = month < 10 ? month + 3 : month - 9
        let year = yearOfEra + era * 400 + (civilMonth <= 2 ? 1 : 0)
        return "\(pad(year, 4))-\(pad(civilMonth))-\(pad(day))T\(pad(inDay / 3600)):\(pad(inDay / 60 % 60)):\(pad(inDay % 60))Z"
    }
}
