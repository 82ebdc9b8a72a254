public import StoreCore

/// Objects as files of a local directory, `file:///abs/dir`: the same contract as S3's, atomic, exclusive and synced.
///
/// A key's segments are directories, its last one a file. A creation writes and syncs a file in `.tmp`, then gives it
/// its name with link(2), which fails where the name is taken: so creation is atomic and exclusive between any number
/// of threads and processes. Then the directory is synced, and those above it that are new. Deleting prunes directories
/// that became empty; a creation that loses its directory to that makes it anew.
///
/// A reader of another process may see an object in the instant before its directory is synced. What it then writes
/// itself and syncs comes later in the file system's journal (ext4, XFS), so that no reference outlives its object.
/// A directory cannot hold both `a` and `a/b`, as S3 can; zerofs writes no such keys, and a creation says `invalid`.
///
/// Blocking calls run on threads of its own. Thread-safe; many stores and processes may share a directory.
public final class DirectoryStore: ObjectStore {
    public let location: String
    let root: StoreRoot
    let temporaries: TemporaryArea
    let names = DurableNames()
    private let pool: BlockingPool

    /// Opens the store and clears away what crashed processes left half written.
    /// - Parameters:
    ///   - path: absolute.
    ///   - createIfMissing: makes the directory and those above it; otherwise a missing one throws `notFound`.
    ///   - threads: how many files are read and written at once.
    public init(path: String, createIfMissing: Bool = false, threads: Int = 8) async throws {
        guard path.hasPrefix("/") else {
            throw StorageError(.invalid, "'\(path)' is not an absolute path: write file:///dir")
        }
        let pool = BlockingPool(name: "store-dir", threads: threads)
        let root = try await pool.run { try StoreRoot.open(path, createIfMissing: createIfMissing) }
        let temporaries = TemporaryArea(root: root)
        try await pool.run { temporaries.sweep() }
        self.location = root.location
        self.root = root
        self.temporaries = temporaries
        self.pool = pool
    }

    public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        try key.requireValid()
        return try await pool.run { try self.getNow(key, range) }
    }
    public func head(_ key: ObjectKey) async throws -> ObjectInfo? {
        try key.requireValid()
        return try await pool.run { try self.headNow(key) }
    }
    /// `sha256` is not used: the bytes take no way on which they could change unseen.
    public func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        try key.requireValid()
        return try await pool.run { try self.createNow(key, bytes) }
    }
    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        try requireValid(limit: limit)
        return try await pool.run { try self.listNow(prefix: prefix, after: after, limit: limit) }
    }
    public func delete(_ keys: [ObjectKey]) async throws {
        for key in keys { try key.requireValid() }
        try await pool.run { try self.deleteNow(keys) }
    }
}
