public import Codec
public import ObjectStorage
public import StoreCore

/// A superblock as it lies in the store.
public struct NumberedSuperblock: Sendable {
    public var number: UInt64
    public var superblock: Superblock
    /// Its keys; fresh, shared by nobody.
    public var keys: KeyRing
}

/// The superblocks of a store: how its wrapped data keys change. A change creates the next number, is read back and
/// opened, and only then the older numbers go, because each of them would open with what it was made for.
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

    /// The newest superblock, not yet opened. Throws `notFound` where there is none; `corrupt` and `unsupported` name
    /// the object.
    public func newest() async throws -> (number: UInt64, superblock: Superblock) {
        guard let (number, bytes) = try await objects.newest() else {
            throw StorageError(.notFound, "there is no zerofs store in \(store.location): make one with `zerofs init`")
        }
        do { return (number, try Superblock(decoding: bytes)) } catch {
            throw StorageError(error.code, "object \(objects.key(number)): \(error.message)")
        }
    }
    /// The newest superblock and its keys. Throws `denied` for the wrong passphrase or key file.
    public func open(_ unlock: Unlock) async throws -> NumberedSuperblock {
        let (number, superblock) = try await newest()
        let keys = try await workers.run { try superblock.unlock(unlock) }
        return NumberedSuperblock(number: number, superblock: superblock, keys: keys)
    }

    /// Wraps the same keys for another passphrase or key file, and deletes what the old one opens.
    ///
    /// Throws `denied` where neither `old` nor `new` opens the store, `busy` where another change came first.
    /// - Returns: the number in force, and whether it was already so.
    public func rewrap(from old: Unlock, to new: Unlock) async throws -> (number: UInt64, wasDone: Bool) {
        let (number, superblock) = try await newest()
        let next: Superblock
        do {
            next = try await workers.run { try superblock.rewrapped(from: old, to: new) }
        } catch  where error.storageCode == .denied {
            // A run that was cut off may have got this far.
            guard try await opens(superblock, new) else { throw error }
            try await deleteOlder(than: number)
            return (number, true)
        }
        let made = try await advance(from: number, to: next, unlock: new) { _ in true }
        return (made.number, false)
    }

    private func opens(_ superblock: Superblock, _ unlock: Unlock) async throws -> Bool {
        do {
            _ = try await workers.run { try superblock.unlock(unlock) }
            return true
        } catch  where error.storageCode == .denied {
            return false
        }
    }

    /// Adds a data key, which becomes the current one.
    public func addKey(_ unlock: Unlock) async throws -> NumberedSuperblock {
        let (number, superblock) = try await newest()
        let (next, keys) = try await workers.run { try superblock.addingKey(unlock) }
        return try await advance(from: number, to: next, unlock: unlock) { $0.isSuccessor(of: keys) }
    }

    /// Takes data keys out: nothing that is sealed under them opens again, and nothing forged with them.
    public func retire(_ ids: Set<DataKeyID>, _ unlock: Unlock) async throws -> NumberedSuperblock {
        let (number, superblock) = try await newest()
        guard !ids.contains(superblock.currentKeyID) else {
            throw StorageError(.invalid, "data key \(superblock.currentKeyID) is the current one")
        }
        guard superblock.keyIDs.contains(where: ids.contains) else {
            try await deleteOlder(than: number)
            return try await open(unlock)
        }
        let (next, _) = try await workers.run { try superblock.retiring(ids, unlock) }
        return try await advance(from: number, to: next, unlock: unlock) { made in !ids.contains(where: made.holds) }
    }

    /// Creates the next number, and looks what is in force then.
    /// - Parameter isDone: whether the keys of the newest superblock show the change.
    private func advance(
        from number: UInt64, to next: Superblock, unlock: Unlock, isDone: (KeyRing) -> Bool
    ) async throws -> NumberedSuperblock {
        var doubt: (any Error)?
        var outcome: CreateOutcome?
        do {
            outcome = try await objects.create(number + 1, next.encode())
        } catch  where error.storageCode == .unavailable {
            // It may have happened.
            doubt = error
        }
        do {
            let found = try await open(unlock)
            if found.number > number, isDone(found.keys) {
                try await deleteOlder(than: found.number)
                return found
            }
        } catch  where error.storageCode == .denied {
            doubt = doubt ?? error
        }
        let newest = try await objects.newestNumber() ?? 0
        if let doubt, newest == number {
            throw StorageError(
                .unavailable, "the change of the store's keys may or may not have taken effect: run it again",
                cause: doubt)
        }
        // Who stalls can win a number below the newest; it would open with what nobody may rely on.
        if outcome == .created, newest > number + 1 { try await store.delete([objects.key(number + 1)]) }
        throw StorageError(
            .busy, "the store's keys were changed by another at the same time: this change had no effect, look again")
    }

    /// Deletes what the newest superblock replaces. gc does the same, where a crash came before.
    public func deleteOlder(than number: UInt64) async throws {
        var older: [ObjectKey] = []
        try await objects.forEach(below: number) {
            older.append(objects.key($0))
            return true
        }
        if !older.isEmpty { try await store.delete(older) }
    }
}
