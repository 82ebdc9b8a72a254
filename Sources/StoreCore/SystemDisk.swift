import Glibc

/// The machine's file system. Blocking calls run on threads of its own; syncs on theirs, so that a flush never waits
/// behind the preparation of a file.
public final class SystemDisk: LocalDisk {
    private let workers: BlockingPool
    private let syncers: BlockingPool

    /// For all journals of a process, so that a hundred volumes do not have hundreds of threads.
    public static let shared = SystemDisk()

    public init(workerThreads: Int = 4, syncThreads: Int = 4) {
        workers = BlockingPool(name: "disk", threads: workerThreads)
        syncers = BlockingPool(name: "disk-sync", threads: syncThreads)
    }

    public func bootID() async throws -> UInt128 {
        let path = "/proc/sys/kernel/random/boot_id"
        let text = String(decoding: try await read(path), as: UTF8.self)
        guard let bits = UInt128(text.filter(\.isHexDigit), radix: 16) else {
            throw StorageError(.unsupported, "\(path) holds no boot id")
        }
        return bits
    }

    public func makeDirectory(_ path: String, isNew: Bool) async throws {
        try await workers.run { try Self.makeDirectory(path, isNew: isNew) }
    }
    public func create(_ path: String, zeroFilled byteCount: Int) async throws -> any LocalFile {
        try await workers.run { [workers, syncers] in
            let descriptor = try Self.open(path, O_RDWR | O_CREAT | O_EXCL)
            do {
                try Self.fillWithZeroes(descriptor, byteCount, path)
                try check(fsync(descriptor), "sync \(path)")
                let file = SystemFile(descriptor, byteCount, path, workers, syncers)
                try file.map()
                return file
            } catch {
                unlink(path)
                throw error
            }
        }
    }
    public func createScratch(_ path: String) async throws -> any LocalFile {
        try await workers.run { [workers, syncers] in
            try Self.unlinkIfPresent(path)
            return SystemFile(try Self.open(path, O_RDWR | O_CREAT | O_EXCL), 0, path, workers, syncers)
        }
    }
    public func open(_ path: String) async throws -> any LocalFile {
        try await workers.run { [workers, syncers] in
            let descriptor = try Self.open(path, O_RDWR)
            let end = lseek(descriptor.value, 0, SEEK_END)
            try check(end < 0 ? -1 : 0, "find the length of \(path)")
            return SystemFile(descriptor, Int(end), path, workers, syncers)
        }
    }
    public func put(_ path: String, _ bytes: [UInt8]) async throws {
        try await workers.run {
            let temporary = path + ".new"
            try Self.unlinkIfPresent(temporary)
            let descriptor = try Self.open(temporary, O_WRONLY | O_CREAT | O_EXCL)
            try bytes.withUnsafeBytes { try descriptor.write($0, at: 0, temporary) }
            try check(fsync(descriptor), "sync \(temporary)")
            try check(rename(temporary, path), "rename \(temporary)")
            try Self.syncDirectory(Self.parent(of: path))
        }
    }
    public func read(_ path: String) async throws -> [UInt8] {
        try await workers.run {
            let descriptor = try Self.open(path, O_RDONLY)
            var bytes: [UInt8] = []
            while true {
                let part = try descriptor.read(at: bytes.count, count: 1 << 20, path)
                guard !part.isEmpty else { return bytes }
                bytes += part
            }
        }
    }
    public func list(_ directory: String) async throws -> [String] {
        try await workers.run {
            guard let stream = opendir(directory) else {
                if errno == ENOENT { return [] }
                throw systemError("list \(directory)")
            }
            defer { closedir(stream) }
            var names: [String] = []
            errno = 0
            while let entry = readdir(stream) {
                let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
                    String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
                }
                if name != ".", name != ".." { names.append(name) }
                errno = 0
            }
            guard errno == 0 else { throw systemError("list \(directory)") }
            return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        }
    }
    public func remove(_ path: String) async throws {
        try await workers.run { try Self.unlinkIfPresent(path) }
    }
    public func removeDirectory(_ path: String) async throws {
        try await workers.run {
            if rmdir(path) != 0, errno != ENOENT { throw systemError("remove the directory \(path)") }
            try Self.syncDirectory(Self.parent(of: path))
        }
    }
    public func syncDirectory(_ path: String) async throws {
        try await syncers.run { try Self.syncDirectory(path) }
    }
}

extension SystemDisk {
    private static func open(_ path: String, _ flags: Int32) throws -> FileDescriptor {
        let descriptor = Glibc.open(path, flags | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw systemError("open \(path)") }
        return FileDescriptor(descriptor)
    }
    private static func unlinkIfPresent(_ path: String) throws {
        if unlink(path) != 0, errno != ENOENT { throw systemError("remove \(path)") }
    }
    private static func syncDirectory(_ path: String) throws {
        try check(fsync(open(path, O_RDONLY | O_DIRECTORY)), "sync the directory \(path)")
    }
    private static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    private static func makeDirectory(_ path: String, isNew: Bool) throws {
        if mkdir(path, 0o700) == 0 { return try syncDirectory(parent(of: path)) }
        switch errno {
        case EEXIST where !isNew: return
        case ENOENT:
            let parent = parent(of: path)
            guard parent != path, parent != "." else { throw systemError("make the directory \(path)") }
            try makeDirectory(parent, isNew: false)
            try check(mkdir(path, 0o700), "make the directory \(path)")
            try syncDirectory(parent)
        default: throw systemError("make the directory \(path)")
        }
    }

    /// Reserving first shows a full disk before anything is written. Writing the zeroes turns reserved extents into
    /// written ones, so that a later fdatasync has no metadata to change: that costs a second wait for the disk.
    private static func fillWithZeroes(_ descriptor: borrowing FileDescriptor, _ byteCount: Int, _ path: String) throws
    {
        let reserved = posix_fallocate(descriptor.value, 0, byteCount)
        guard reserved == 0 || reserved == EOPNOTSUPP || reserved == EINVAL else {
            errno = reserved
            throw systemError("reserve \(ByteSize.format(UInt64(byteCount))) for \(path)")
        }
        let zeroes = [UInt8](repeating: 0, count: min(byteCount, 1 << 20))
        try zeroes.withUnsafeBytes { zeroes in
            for position in stride(from: 0, to: byteCount, by: zeroes.count) {
                let part = UnsafeRawBufferPointer(rebasing: zeroes.prefix(byteCount - position))
                try descriptor.write(part, at: position, path)
            }
        }
    }
}
