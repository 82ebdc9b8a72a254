public import Codec
public import StoreCore
import Synchronization

/// The local write-ahead journal of one opening of a volume (a generation).
///
/// Promises, each kept until `release`:
/// - What `appendNow` took survives the process (SIGKILL), and what `sync` covered survives the host.
/// - Replay returns a prefix of the appended entries (R2), and never an entry of another opening.
/// - After one failed sync or store nothing is ever acknowledged again: which pages of that attempt reached the disk
///   cannot be known, and a later sync that succeeds does not tell.
///
/// Life: `create`; appends, syncs and releases; `close`. A generation is never reopened for writing: the next opening
/// replays it and starts a new one.
/// Thread-safe, but for the order of appends, which is the caller's.
public final class Journal: Sendable {
    public let volume: VolumeID
    public let token: OwnerToken
    /// The generation's directory.
    public let path: String
    public let limits: JournalLimits
    let generation: UInt64
    let keys: KeyRing
    let disk: any LocalDisk
    let time: any TimeSource

    /// Where the next entry goes; held while one is sealed. Taken before `state`, never after.
    let position: Mutex<AppendPosition>
    let state: Mutex<JournalState>
    /// False after a failure or close: read without the lock before each append.
    let isUsable = Atomic<Bool>(true)

    /// Starts a new generation under `directory`/volume/. When it returns, token and first file are durable.
    ///
    /// - Parameter epoch: the epoch that the owner is about to claim; kept in the token for people.
    /// Throws `full` where the first file does not fit; leaves nothing behind then.
    public static func create(
        directory: String, volume: VolumeID, token: OwnerToken, epoch: Epoch = Epoch(0), keys: KeyRing,
        limits: JournalLimits = JournalLimits(), disk: any LocalDisk, time: any TimeSource
    ) async throws -> Journal {
        try limits.check()
        let number = try await nextNumber(directory, volume, disk)
        let marker = GenerationMarker(
            kind: .journaled, volume: volume, token: token, generation: number, epoch: epoch, created: time.now(),
            bootID: try await disk.bootID())
        let path = generationPath(directory, volume, number)
        try await begin(path, marker.bytes, disk)
        do {
            let identity = JournalFormat.identity(volume, token, generation: number, file: 1)
            let first = try await JournalFile.prepare(
                1, cipher: try keys.sealing(.journal, identity: identity), in: path, bytes: limits.fileBytes, disk: disk
            )
            return Journal(
                marker: marker, path: path, first: first, position: try AppendPosition(first, time: time.now()),
                keys: keys, limits: limits, disk: disk, time: time)
        } catch {
            throw await cleanedUp(after: error, path, disk)
        }
    }
    /// The number of the next generation; what was begun and never got its token goes first.
    static func nextNumber(_ directory: String, _ volume: VolumeID, _ disk: any LocalDisk) async throws -> UInt64 {
        let others = try await generationPaths(directory, volume, disk)
        for other in others where try await !disk.list(other.path).contains(GenerationMarker.fileName) {
            try await removeDirectory(other.path, disk)
        }
        return (others.map(\.number).max() ?? 0) + 1
    }
    /// Makes a generation's folder with its token, durable.
    static func begin(_ path: String, _ marker: [UInt8], _ disk: any LocalDisk) async throws {
        try await disk.makeDirectory(path, isNew: true)
        do {
            try await disk.put("\(path)/\(GenerationMarker.fileName)", marker)
        } catch {
            throw await cleanedUp(after: error, path, disk)
        }
    }
    private static func cleanedUp(after error: any Error, _ path: String, _ disk: any LocalDisk) async -> any Error {
        do {
            try await removeDirectory(path, disk)
            return error
        } catch let second {
            return StorageError(
                error.storageCode, "cannot start a journal in \(path), and cannot remove what is there (\(second))",
                cause: error)
        }
    }

    private init(
        marker: GenerationMarker, path: String, first: JournalFile, position: sending AppendPosition, keys: KeyRing,
        limits: JournalLimits, disk: any LocalDisk, time: any TimeSource
    ) {
        volume = marker.volume
        token = marker.token
        generation = marker.generation
        self.path = path
        self.limits = limits
        self.keys = keys
        self.disk = disk
        self.time = time
        self.position = Mutex(position)
        state = Mutex(JournalState(first: first))
    }

    public var hasFailed: Bool { state.withLock { $0.failure != nil } }

    public var status: JournalStatus {
        state.withLock { state in
            JournalStatus(
                bytesOnDisk: state.fileCount * limits.fileBytes, bytesMax: limits.bytesMax,
                bytesUnreleased: state.lag.bytes, oldestUnreleased: state.lag.oldest, appended: state.appended,
                durable: state.durable, released: state.released, entries: state.entries, syncs: state.syncs.count,
                hasFailed: state.failure != nil)
        }
    }

    /// Ends this generation for good. Later appends and syncs throw.
    ///
    /// - Parameter deleting: everything is in the bucket; remove the generation from the disk. Otherwise it is synced
    ///   and marked as closed in order, for a later `replay`.
    public func close(deleting: Bool) async throws {
        isUsable.store(false, ordering: .releasing)
        let (isFirst, waiters) = state.withLock { state in
            defer { state.isClosed = true }
            return (!state.isClosed, state.takeRoomWaiters())
        }
        for waiter in waiters { waiter.resume(throwing: refusal) }
        if isFirst && !deleting { try await finish() }
        await maintenanceIsIdle()
        if deleting { try await Self.removeDirectory(path, disk) }
    }
    private func finish() async throws {
        guard !hasFailed else { throw refusal }
        do {
            try position.withLock { position in
                let head = EntryHead(sequence: position.lastSequence, time: time.now(), kind: .end)
                try position.append(head, UnsafeRawBufferPointer(start: nil, count: 0))
            }
        } catch {
            throw fail(error)
        }
        try await syncAll()
    }

    /// Why an operation is refused once the journal is not usable.
    var refusal: StorageError {
        state.withLock { state in
            state.failure ?? StorageError(.unavailable, "the journal \(path) is closed")
        }
    }

    /// Ends all acknowledging; wakes everyone who waits with the reason, and returns it.
    func fail(_ cause: any Error) -> StorageError {
        isUsable.store(false, ordering: .releasing)
        let failure = StorageError(
            .unavailable, "the journal \(path) failed and acknowledges nothing any more", cause: cause)
        let (reason, rooms, syncs) = state.withLock { state in
            let reason = state.failure ?? failure
            state.failure = reason
            return (reason, state.takeRoomWaiters(), state.syncs.abandon())
        }
        for waiter in rooms { waiter.resume(throwing: reason) }
        for waiter in syncs { waiter.resume(throwing: reason) }
        return reason
    }
}
