import Glibc

/// A file of the machine. One that was made to its full length is mapped, and `store` writes into the mapping.
///
/// Why mapped: storing 4 KiB takes 0.35 µs against 4.2 µs with pwrite (ext4, page-cached, zero-filled before), and the
/// sealed bytes are written once, where they belong. What that costs: a disk that fails to read a page of such a file
/// back into memory ends the process with SIGBUS instead of an error. Nothing acknowledged is lost by that, and a
/// restart meets the error where it is handled.
final class SystemFile: LocalFile, @unchecked Sendable {
    let byteCount: Int
    private let descriptor: FileDescriptor
    private let path: String
    private let workers: BlockingPool
    private let syncers: BlockingPool
    /// Set before the file is handed out, then constant.
    private var mapping: UnsafeMutableRawPointer?

    init(
        _ descriptor: consuming FileDescriptor, _ byteCount: Int, _ path: String, _ workers: BlockingPool,
        _ syncers: BlockingPool
    ) {
        self.descriptor = descriptor
        self.byteCount = byteCount
        self.path = path
        self.workers = workers
        self.syncers = syncers
    }
    deinit { if let mapping { munmap(mapping, byteCount) } }

    func map() throws {
        let address = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.value, 0)
        guard let address, address != MAP_FAILED else { throw systemError("map \(path)") }
        mapping = address
    }

    func store(at position: Int, count: Int, _ fill: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
        precondition(position >= 0 && count >= 0 && position + count <= byteCount, "stored within the file")
        if let mapping { return try fill(UnsafeMutableRawBufferPointer(start: mapping + position, count: count)) }
        try withUnsafeTemporaryAllocation(byteCount: count, alignment: 16) { scratch in
            try fill(scratch)
            try descriptor.write(UnsafeRawBufferPointer(scratch), at: position, path)
        }
    }
    func write(_ bytes: [UInt8], at position: Int) async throws {
        try await workers.run { try bytes.withUnsafeBytes { try self.descriptor.write($0, at: position, self.path) } }
    }
    func read(at position: Int, count: Int) async throws -> [UInt8] {
        try await workers.run { try self.descriptor.read(at: position, count: count, self.path) }
    }
    func sync() async throws {
        try await syncers.run { try check(fdatasync(self.descriptor.value), "sync \(self.path)") }
    }
}

/// Owns a descriptor; closes it at its end. A failed close of a file that was synced before loses nothing.
struct FileDescriptor: ~Copyable, Sendable {
    let value: Int32
    init(_ value: Int32) { self.value = value }
    deinit { close(value) }

    func write(_ bytes: UnsafeRawBufferPointer, at position: Int, _ path: String) throws {
        var done = 0
        while done < bytes.count {
            let count = pwrite(value, bytes.baseAddress! + done, bytes.count - done, off_t(position + done))
            if count < 0 {
                if errno == EINTR { continue }
                throw systemError("write \(path)")
            }
            done += count
        }
    }
    func read(at position: Int, count: Int, _ path: String) throws -> [UInt8] {
        try [UInt8](unsafeUninitializedCapacity: count) { buffer, done in
            while done < count {
                let part = pread(value, buffer.baseAddress! + done, count - done, off_t(position + done))
                if part == 0 { return }
                if part < 0 {
                    if errno == EINTR { continue }
                    throw systemError("read \(path)")
                }
                done += part
            }
        }
    }
}

func fsync(_ descriptor: borrowing FileDescriptor) -> Int32 { Glibc.fsync(descriptor.value) }

func check(_ result: Int32, _ what: @autoclosure () -> String) throws {
    guard result == 0 else { throw systemError(what()) }
}

/// `errno` as a `StorageError`: "cannot sync /x: No space left on device". Call it before anything else can fail.
public func systemError(_ what: String) -> StorageError {
    let number = errno
    let code: ErrorCode =
        switch number {
        case ENOSPC, EDQUOT: .full
        case EACCES, EPERM, EROFS: .denied
        case ENOENT: .notFound
        case EEXIST: .alreadyExists
        case EBUSY: .busy
        default: .unavailable
        }
    return StorageError(code, "cannot \(what): \(String(cString: strerror(number)))")
}
