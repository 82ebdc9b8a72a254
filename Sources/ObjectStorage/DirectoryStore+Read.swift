import Glibc
import StoreCore

extension DirectoryStore {
    func getNow(_ key: ObjectKey, _ range: Range<UInt64>?) throws(StorageError) -> [UInt8] {
        let what = "cannot read object \(key) in \(location)"
        guard let file = DiskFile(at: root.directory.descriptor, key.text, O_RDONLY | O_NOFOLLOW) else {
            let number = errno
            if number == ENOENT || number == ENOTDIR { throw noSuchObject(key, in: location) }
            throw diskError(what, number)
        }
        let status = try file.status()
        guard status.st_mode & S_IFMT == S_IFREG else { throw noSuchObject(key, in: location) }
        return try file.read(rangeWithin(UInt64(status.st_size), range, of: key), for: what)
    }

    func headNow(_ key: ObjectKey) throws(StorageError) -> ObjectInfo? {
        try objectInfo(key, at: root.directory.descriptor, path: key.text)
    }

    /// nil where `path` is no object.
    func objectInfo(_ key: ObjectKey, at directory: Int32, path: String) throws(StorageError) -> ObjectInfo? {
        var status = stat()
        guard fstatat(directory, path, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw diskError("cannot examine object \(key) in \(location)")
        }
        guard status.st_mode & S_IFMT == S_IFREG else { return nil }
        let nanoseconds = Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec)
        return ObjectInfo(
            key: key, byteCount: UInt64(status.st_size), modified: Timestamp(nanoseconds: nanoseconds))
    }
}
