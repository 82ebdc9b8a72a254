public import Codec
import Logging
import ObjectStorage
import Snapshots
import StoreCore
import Synchronization

/// How a store is opened again, after its keys were changed elsewhere: reads the passphrase or key file anew, so that
/// neither has to be kept.
public typealias UnlockSource = @Sendable () async throws -> Unlock

/// The keys of an open store, and how newer ones come in.
///
/// A process learns of a rotation when it meets an object under a key that it does not know: then it looks whether
/// there is a newer superblock. Until then it seals under the older key, which harms nothing: that key stays in the
/// superblock until nothing is left under it and no volume is open that was opened before.
///
/// Whoever commits a manifest or a catalog number on top of one that is under the new key has read that one, and so has
/// learned. So once the newest of them is under the new key, all later ones are. Thread-safe.
final class StoreKeys: Sendable {
    let ring: KeyRing
    let superblocks: SuperblockLog
    let unlock: UnlockSource
    private let marks: HighWaterFile
    private let log: Logger
    /// Guards the superblock in force, as far as is known here.
    private let inForce: Mutex<OpenedSuperblock>
    private let lock = AsyncLock()

    init(
        opened: OpenedSuperblock, superblocks: SuperblockLog, unlock: @escaping UnlockSource, marks: HighWaterFile,
        log: Logger
    ) {
        ring = opened.keys
        self.superblocks = superblocks
        self.unlock = unlock
        self.marks = marks
        self.log = log
        inForce = Mutex(opened)
    }

    /// The superblock in force, as far as is known here.
    var superblock: Superblock { inForce.withLock { $0.superblock } }

    /// Looks whether there is a newer superblock, and takes its keys over: one LIST where there is none.
    func refresh() async throws {
        try await lock.withLock {
            var known = marks.marks
            guard let newest = try await superblocks.objects.newestNumber() else { return }
            // Compared, and noted only when it was opened: anyone can give an object a high number.
            try known.observe(.superblock, newest)
            guard newest > superblock.number else { return }
            try adopt(try await superblocks.open(try await unlock()))
        }
    }

    /// Throws `corrupt` for a superblock of another history, in which the store was put back to an earlier state and
    /// its keys were changed then: gc would take the one in force for replaced.
    func adopt(_ opened: OpenedSuperblock) throws {
        let isNews = try inForce.withLock { known in
            guard opened.number <= known.number || opened.keys.currentKeyID >= ring.currentKeyID else {
                throw StorageError.corrupt(
                    superblocks.objects.key(opened.number).text,
                    """
                    it lacks data key \(ring.currentKeyID), which is in use: the bucket was rolled back, and its keys \
                    changed since
                    """)
            }
            let isNews = try ring.adopt(opened.keys)
            if opened.number > known.number { known = opened }
            return isNews
        }
        try marks.observe(.superblock, opened.number, since: HighWaterMarks())
        if isNews { log.notice("data key \(ring.currentKeyID) is in use for new objects") }
    }

    /// Deletes the superblocks that the one in force here replaced, where a crash came before.
    func deleteReplaced() async throws { try await superblocks.deleteOlder(than: inForce.withLock { $0 }) }

    /// Returns when the key is known, or cannot be; whoever needs it says so then.
    func learn(_ id: DataKeyID, metIn object: ObjectKey) async {
        guard !ring.holds(id) else { return }
        do { try await refresh() } catch {
            log.warning("\(object) is under data key \(id), which is not known here, and the superblock: \(error)")
        }
    }
}

/// A store that looks at the header of what it reads: where it names a data key that this process does not know, the
/// superblock is read again before the object is handed on.
struct KeyLearningStore: ObjectStore {
    let base: any ObjectStore
    let keys: StoreKeys

    var location: String { base.location }
    func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        let bytes = try await base.get(key, range: range)
        guard range.map({ $0.lowerBound == 0 }) ?? true, let header = ObjectHeader.peek(bytes),
            header.kind != .superblock, !keys.ring.holds(header.keyID)
        else { return bytes }
        await keys.learn(header.keyID, metIn: key)
        return bytes
    }
    func head(_ key: ObjectKey) async throws -> ObjectInfo? { try await base.head(key) }
    func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        try await base.create(key, bytes, sha256: sha256)
    }
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        try await base.list(prefix: prefix, after: after, limit: limit)
    }
    func delete(_ keys: [ObjectKey]) async throws { try await base.delete(keys) }
}
