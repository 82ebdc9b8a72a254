public import Codec
public import ObjectStorage
public import StoreCore

/// A superblock that was opened, and so is genuine.
public struct OpenedSuperblock: Sendable {
    public let superblock: Superblock
    /// Its keys; fresh, shared by nobody.
    public let keys: KeyRing
    public var number: UInt64 { superblock.number }
}

/// The superblocks of a store: how its wrapped data keys change. A change creates the next number, is read back and
/// opened, and only then the older numbers go, because each of them would open with what it was made for.
///
/// Each holds its number under its authenticator: a copy under another name is refused. Only what was opened lets
/// others go, and never one that names a later data key: whoever put an old store back may not have the newer keys
/// deleted.
///
/// Whether a change took effect is told by what the newest superblock opens with and holds, never by who won a number:
/// of rivals one has its way, the others are told so. Everything may be repeated after a crash. Thread-safe.
public struct SuperblockLog: Sendable {
    public static let prefix = "superblock"
    public let objects: NumberedObjects
    private let store: any ObjectStore
    private let workers: BlockingPool

    /// - Parameter workers: scrypt takes its time on them.
    public init(store: any ObjectStore, workers: BlockingPool) {
        objects = NumberedObjects(prefix: Self.prefix, store: store)
        self.store = store
        self.workers = workers
    }

    /// The newest superblock, not yet opened: nothing in it is proven. Throws `notFound` where there is none; `corrupt`
    /// and `unsupported` name the object.
    public func newest() async throws -> Superblock {
        guard let (number, bytes) = try await objects.newest() else {
            throw StorageError(.notFound, "there is no zerofs store in \(store.location): make one with `zerofs init`")
        }
        return try decode(bytes, number)
    }
    private func decode(_ bytes: [UInt8], _ number: UInt64) throws -> Superblock {
        let key = objects.key(number)
        let superblock: Superblock
        do { superblock = try Superblock(decoding: bytes) } catch {
            throw StorageError(error.code, "object \(key): \(error.message)")
        }
        guard superblock.number == number else {
            let place = objects.key(superblock.number)
            throw StorageError.corrupt(
                key.text,
                """
                it is superblock \(superblock.number), which belongs at \(place): move it out of the store and keep \
                it; if no other superblock is left then, put it there
                """)
        }
        return superblock
    }
    /// The newest superblock and its keys. Throws `denied` for the wrong passphrase or key file.
    public func open(_ unlock: Unlock) async throws -> OpenedSuperblock { try await opened(newest(), unlock) }

    private func opened(_ superblock: Superblock, _ unlock: Unlock) async throws -> OpenedSuperblock {
        OpenedSuperblock(superblock: superblock, keys: try await workers.run { try superblock.unlock(unlock) })
    }

    /// Wraps the same keys for another passphrase or key file, and deletes what the old one opens.
    ///
    /// Throws `denied` where neither `old` nor `new` opens the store, `busy` where another change came first, `corrupt`
    /// where the store shows an older superblock than `marks`.
    /// - Returns: the number in force, and whether it was already so.
    public func rewrap(
        from old: Unlock, to new: Unlock, marks: HighWaterMarks = HighWaterMarks()
    ) async throws -> (number: UInt64, wasDone: Bool) {
        var marks = marks
        let superblock = try await newest()
        try marks.observe(.superblock, superblock.number)
        let next: Superblock
        do {
            next = try await workers.run { try superblock.rewrapped(from: old, to: new) }
        } catch  where error.storageCode == .denied {
            // A run that was cut off may have got this far.
            guard let done = try await openedIfItFits(superblock, new) else { throw error }
            try await deleteOlder(than: done)
            return (done.number, true)
        }
        let made = try await advance(from: superblock, to: next, unlock: new) { _ in true }
        return (made.number, false)
    }

    private func openedIfItFits(_ superblock: Superblock, _ unlock: Unlock) async throws -> OpenedSuperblock? {
        do { return try await opened(superblock, unlock) } catch  where error.storageCode == .denied { return nil }
    }

    /// Adds a data key, which becomes the current one.
    public func addKey(_ unlock: Unlock) async throws -> OpenedSuperblock {
        let superblock = try await newest()
        let (next, keys) = try await workers.run { try superblock.addingKey(unlock) }
        return try await advance(from: superblock, to: next, unlock: unlock) { $0.isSuccessor(of: keys) }
    }

    /// Takes data keys out: nothing that is sealed under them opens again, and nothing forged with them.
    public func retire(_ ids: Set<DataKeyID>, _ unlock: Unlock) async throws -> OpenedSuperblock {
        let known = try await open(unlock)
        let superblock = known.superblock
        guard !ids.contains(superblock.currentKeyID) else {
            throw StorageError(.invalid, "data key \(superblock.currentKeyID) is the current one")
        }
        guard superblock.keyIDs.contains(where: ids.contains) else {
            try await deleteOlder(than: known)
            return known
        }
        let (next, _) = try await workers.run { try superblock.retiring(ids, unlock) }
        return try await advance(from: superblock, to: next, unlock: unlock) { made in
            !ids.contains(where: made.holds)
        }
    }

    /// Creates the next number, and looks what is in force then.
    /// - Parameters:
    ///   - superblock: has been opened.
    ///   - isDone: whether the keys of the newest superblock show the change.
    private func advance(
        from superblock: Superblock, to next: Superblock, unlock: Unlock, isDone: (KeyRing) -> Bool
    ) async throws -> OpenedSuperblock {
        // Better now than when the change is in force.
        _ = try await replaced(by: superblock)
        var doubt: (any Error)?
        var outcome: CreateOutcome?
        do {
            outcome = try await objects.create(next.number, next.encode())
        } catch  where error.storageCode == .unavailable {
            // It may have happened.
            doubt = error
        }
        do {
            let found = try await open(unlock)
            if found.number > superblock.number, isDone(found.keys) {
                try await deleteOlder(than: found)
                return found
            }
        } catch  where error.storageCode == .denied {
            doubt = doubt ?? error
        }
        let newest = try await objects.newestNumber() ?? 0
        if let doubt, newest == superblock.number {
            throw StorageError(
                .unavailable, "the change of the store's keys may or may not have taken effect: run it again",
                cause: doubt)
        }
        // Who stalls can win a number below the newest; it would open with what nobody may rely on.
        if outcome == .created, newest > next.number { try await store.delete([objects.key(next.number)]) }
        throw StorageError(
            .busy, "the store's keys were changed by another at the same time: this change had no effect, look again")
    }

    /// Deletes what a superblock replaces that was the newest when it was opened. gc does the same, where a crash came
    /// before. Throws `corrupt` where a lower number is of another history: then nothing is deleted.
    public func deleteOlder(than opened: OpenedSuperblock) async throws {
        let older = try await replaced(by: opened.superblock)
        guard !older.isEmpty else { return }
        // A bucket that was put back meanwhile may have none but these.
        guard try await objects.newestNumber() ?? 0 >= opened.number else {
            throw StorageError.corrupt(objects.key(opened.number).text, "it is gone: the bucket was rolled back")
        }
        try await store.delete(older)
    }

    /// The superblocks of lower numbers. Data keys only count up; one that names a later key, or another store, was
    /// never replaced by this one: it may be the only copy of keys that data is under.
    private func replaced(by superblock: Superblock) async throws -> [ObjectKey] {
        var older: [ObjectKey] = []
        try await objects.forEach(below: superblock.number) { number in
            guard let bytes = try await objects.read(number) else { return true }
            let other = try decode(bytes, number)
            guard other.storeID == superblock.storeID, other.currentKeyID <= superblock.currentKeyID else {
                throw StorageError(
                    .corrupt,
                    """
                    the bucket was rolled back or mixed with another: superblock \(superblock.number) (newest data key \
                    \(superblock.currentKeyID), store \(superblock.storeID.hex)) does not follow \
                    \(objects.key(number)), which names data key \(other.currentKeyID) of store \(other.storeID.hex); \
                    none is deleted: copy `superblock/` elsewhere, then see docs/operations.md, The store went back
                    """)
            }
            older.append(objects.key(number))
            return true
        }
        return older
    }
}
