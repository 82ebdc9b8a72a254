/// What zerofs asks of a local disk for its journal and its disk cache, so that a simulation can hold its own.
///
/// Paths are absolute, or relative to the process. Directories are made with mode 0700, files with 0600.
/// All methods may be called from any task, many at once, for different paths. Errors are `StorageError`: `full` where
/// the disk or a quota is full, `denied` where permissions forbid, `notFound` and `alreadyExists` where named,
/// else `unavailable`.
public protocol LocalDisk: Sendable {
    /// Names this run of the machine: bytes that reached the page cache outlive the process while it stays the same.
    func bootID() async throws -> UInt128

    /// Makes the directory and its missing parents, durably. Throws `alreadyExists` where the last one is there and
    /// `isNew` was asked for.
    func makeDirectory(_ path: String, isNew: Bool) async throws
    /// A new file of `byteCount` zero bytes that are allocated and synced: storing into it can no longer meet a full
    /// disk. Its name is durable after `syncDirectory`. Throws `alreadyExists`; leaves nothing behind where it fails.
    func create(_ path: String, zeroFilled byteCount: Int) async throws -> any LocalFile
    /// A new, empty, growing file without any promise of room or durability; what has the name is removed first.
    func createScratch(_ path: String) async throws -> any LocalFile
    /// Throws `notFound`.
    func open(_ path: String) async throws -> any LocalFile
    /// Creates a small file whole, atomically and durably; replaces what has the name.
    func put(_ path: String, _ bytes: [UInt8]) async throws
    /// The whole file; throws `notFound`.
    func read(_ path: String) async throws -> [UInt8]
    /// Names in the directory, sorted by their bytes; none where there is no such directory.
    func list(_ directory: String) async throws -> [String]
    /// Removes a file; one that is not there is no error. Durable after `syncDirectory`.
    func remove(_ path: String) async throws
    /// Removes an empty directory, durably; one that is not there is no error.
    func removeDirectory(_ path: String) async throws
    func syncDirectory(_ path: String) async throws
}

/// An open file; closed when the last reference goes. Distinct parts may be stored and read by many at once.
public protocol LocalFile: AnyObject, Sendable {
    /// Bytes in the file when it was opened or created.
    var byteCount: Int { get }
    /// Lets `fill` write `count` bytes at `position`, within the file, and leaves them where they outlive the process
    /// but not the host: the page cache. Quick, without waiting for the disk as long as there is memory for dirty
    /// pages. Where `fill` or the disk fails, the bytes there are undefined.
    func store(at position: Int, count: Int, _ fill: (UnsafeMutableRawBufferPointer) throws -> Void) throws
    /// Writes at `position`; the file grows where needed.
    func write(_ bytes: [UInt8], at position: Int) async throws
    /// Up to `count` bytes; fewer only where the file ends.
    func read(at position: Int, count: Int) async throws -> [UInt8]
    /// Makes everything stored before the call survive the host (`fdatasync`). After a failure nothing is known about
    /// any byte that was not synced before, and a later success says nothing about them.
    func sync() async throws
}
