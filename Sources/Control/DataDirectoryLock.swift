import Glibc
public import StoreCore

/// Who holds a data directory: what the lock file says.
public struct LockHolder: Codable, Sendable, Equatable {
    public var pid: Int32
    /// `serve`, or another command.
    public var command: String
    /// A server's control socket, so that commands find it wherever it lies.
    public var control: String?
    public init(pid: Int32, command: String, control: String? = nil) {
        self.pid = pid
        self.command = command
        self.control = control
    }
}

/// One server at a time on a data directory: an flock on `<data directory>/lock`, which the kernel releases when its
/// holder ends, however it ends. Held as long as this object lives.
///
/// Exclusive for servers and for commands that change something, shared for those that only read. The file's content
/// tells who holds it exclusively; it is for people, and to find the server.
public final class DataDirectoryLock: Sendable {
    private let descriptor: Int32

    private init(_ descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }

    public static func path(in directory: String) -> String { directory + "/lock" }

    /// Takes the lock, or returns nil where another has it. Makes the directory (mode 0700) where it is missing.
    ///
    /// - Parameter holder: nil takes it shared.
    public static func acquire(in directory: String, as holder: LockHolder?) throws -> DataDirectoryLock? {
        try makeDirectories(directory)
        let file = path(in: directory)
        let descriptor = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw systemError("open \(file)") }
        let lock = DataDirectoryLock(descriptor)
        guard flock(descriptor, (holder == nil ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0 else {
            guard errno == EWOULDBLOCK || errno == EINTR else { throw systemError("lock \(file)") }
            return nil
        }
        try lock.write(holder)
        return lock
    }

    /// Who says that it holds the lock exclusively; nil where the file says nothing. Only who failed to acquire the
    /// lock can believe it.
    public static func holder(in directory: String) -> LockHolder? {
        let descriptor = open(path(in: directory), O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 8 << 10)
        let count = bytes.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { return nil }
        do { return try ControlJSON.decode(from: Array(bytes.prefix(count))) } catch { return nil }
    }

    /// Tells where a server listens, once it is known.
    public func update(_ holder: LockHolder) throws { try write(holder) }

    /// What an earlier holder left is wrong by now, so a shared one clears it.
    private func write(_ holder: LockHolder?) throws {
        let bytes = try holder.map { try ControlJSON.encode($0) + [UInt8(ascii: "\n")] } ?? []
        guard ftruncate(descriptor, 0) == 0 else { throw systemError("write the lock file") }
        let count = bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
        guard count == bytes.count else { throw systemError("write the lock file") }
    }
}

/// Makes a directory and those above it that are missing, with mode 0700.
public func makeDirectories(_ path: String) throws(StorageError) {
    if mkdir(path, 0o700) == 0 { return }
    switch errno {
    case EEXIST:
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw StorageError(.invalid, "\(path) is not a directory")
        }
    case ENOENT:
        let parent = splitPath(path).directory
        guard parent != path, parent != "." else { throw systemError("make the directory \(path)") }
        try makeDirectories(parent)
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else { throw systemError("make the directory \(path)") }
    default: throw systemError("make the directory \(path)")
    }
}
