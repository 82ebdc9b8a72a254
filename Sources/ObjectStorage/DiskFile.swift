import Glibc
import StoreCore

/// An open file or directory, closed with its owner.
struct DiskFile: ~Copyable, Sendable {
    let descriptor: Int32
    init(_ descriptor: Int32) { self.descriptor = descriptor }
    deinit { close(descriptor) }

    /// Opens `path` relative to `directory`; nil with `errno` set where it cannot.
    init?(at directory: Int32, _ path: String, _ flags: Int32, mode: mode_t = 0) {
        let descriptor = retrying { openat(directory, path, flags | O_CLOEXEC, mode) }
        guard descriptor >= 0 else { return nil }
        self.init(descriptor)
    }

    func status() throws(StorageError) -> stat {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw diskError("cannot examine a file") }
        return status
    }

    /// Writes all of `bytes` at the file's position.
    func write(_ bytes: [UInt8], for what: String) throws(StorageError) {
        let failure: Int32? = bytes.withUnsafeBytes { bytes in
            var done = 0
            while done < bytes.count {
                let count = retrying {
                    Glibc.write(descriptor, bytes.baseAddress?.advanced(by: done), bytes.count - done)
                }
                guard count > 0 else { return count < 0 ? errno : EIO }
                done += count
            }
            return nil
        }
        if let failure { throw diskError(what, failure) }
    }

    /// The bytes of `range`, which lies within the file.
    func read(_ range: Range<UInt64>, for what: String) throws(StorageError) -> [UInt8] {
        var failure: Int32?
        let count = Int(range.upperBound - range.lowerBound)
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, done in
            while done < count {
                let target = UnsafeMutableRawPointer(buffer.baseAddress)?.advanced(by: done)
                let read = retrying { pread(descriptor, target, count - done, off_t(range.lowerBound) + off_t(done)) }
                guard read > 0 else {
                    failure = read < 0 ? errno : EIO
                    return
                }
                done += read
            }
        }
        if let failure { throw diskError(what, failure) }
        return bytes
    }

    func sync(for what: String) throws(StorageError) {
        guard retrying({ fsync(descriptor) }) == 0 else { throw diskError(what) }
    }
}

/// Calls again while a signal interrupts.
func retrying<R: SignedInteger>(_ call: () -> R) -> R {
    while true {
        let result = call()
        if result >= 0 || errno != EINTR { return result }
    }
}

/// What a failed system call means to the caller: the one table from `errno` to codes.
func diskError(_ what: String, _ number: Int32 = errno) -> StorageError {
    let code: ErrorCode =
        switch number {
        case ENOSPC, EDQUOT, EFBIG: .full
        case EACCES, EPERM, EROFS: .denied
        case ENAMETOOLONG, EINVAL, EISDIR, ENOTDIR: .invalid
        case ENOENT: .notFound
        case EOPNOTSUPP, ENOSYS: .unsupported
        default: .unavailable
        }
    return StorageError(code, "\(what): \(String(cString: strerror(number)))")
}
