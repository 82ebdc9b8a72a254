import Codec
import Glibc
import StoreCore

/// Reads files that hold secrets. The mode is checked on what was opened, so that nobody puts another in its place.
enum SecretFile {
    private static let bytesMax = 1 << 20

    /// Throws `denied` where others than the owner may read or change it, `notFound`, `invalid`.
    static func read(_ path: String, _ what: String) throws(StorageError) -> SecretBytes {
        // O_NONBLOCK: a pipe in the file's place must not hold up the server.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            throw StorageError(
                errno == ENOENT ? .notFound : .denied,
                "cannot open the \(what) \(path): \(String(cString: strerror(errno)))")
        }
        defer { close(descriptor) }
        let count = try size(descriptor, path, what)
        return try SecretBytes(count: count, placement: .locked) { buffer throws(StorageError) in
            var filled = 0
            while filled < count {
                let got = Glibc.read(descriptor, buffer.baseAddress.map { $0 + filled }, count - filled)
                if got < 0, errno == EINTR { continue }
                guard got > 0 else { throw StorageError(.unavailable, "cannot read the \(what) \(path) as a whole") }
                filled += got
            }
        }
    }

    private static func size(_ descriptor: Int32, _ path: String, _ what: String) throws(StorageError) -> Int {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw StorageError(.invalid, "the \(what) \(path) is not a file")
        }
        guard status.st_mode & 0o077 == 0 else {
            throw StorageError(.denied, "the \(what) \(path) can be read or changed by others: chmod 600 \(path)")
        }
        guard status.st_size > 0, status.st_size <= bytesMax else {
            throw StorageError(.invalid, "the \(what) \(path) is empty, or too long for what it should be")
        }
        return Int(status.st_size)
    }
}
