import Glibc
import StoreCore

/// Reads a directory's entries, in the file system's order; closed with its owner.
struct FolderReader: ~Copyable {
    enum Kind { case object, folder, other }

    private let stream: OpaquePointer

    /// nil where there is no such directory.
    init?(at directory: Int32, _ path: String) throws(StorageError) {
        let descriptor = retrying { openat(directory, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW) }
        guard descriptor >= 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw diskError("cannot open directory \(path)")
        }
        guard let stream = fdopendir(descriptor) else {
            let number = errno
            close(descriptor)
            throw diskError("cannot read directory \(path)", number)
        }
        self.stream = stream
    }
    deinit { closedir(stream) }

    /// For `fstatat` and the like, while this lives.
    var descriptor: Int32 { dirfd(stream) }

    func rewind() { rewinddir(stream) }

    /// Hands each entry's name and kind to `body`, but `.` and `..`, until it returns false. The name is valid during
    /// the call.
    func forEachEntry(_ body: (UnsafeBufferPointer<UInt8>, Kind) -> Bool) throws(StorageError) {
        while true {
            errno = 0
            guard let entry = readdir(stream) else {
                if errno == 0 { return }
                throw diskError("cannot read a directory")
            }
            let name = Self.name(of: entry)
            let length = strlen(name)
            if length <= 2, strcmp(name, ".") == 0 || strcmp(name, "..") == 0 { continue }
            let bytes = UnsafeRawPointer(name).assumingMemoryBound(to: UInt8.self)
            guard body(UnsafeBufferPointer(start: bytes, count: length), kind(of: entry)) else { return }
        }
    }

    func allNames() throws(StorageError) -> [String] {
        var names: [String] = []
        try forEachEntry { name, _ in
            names.append(String(decoding: name, as: UTF8.self))
            return true
        }
        return names
    }
    func isEmpty() throws(StorageError) -> Bool {
        var isEmpty = true
        try forEachEntry { _, _ in
            isEmpty = false
            return false
        }
        return isEmpty
    }

    private static func name(of entry: UnsafeMutablePointer<dirent>) -> UnsafePointer<CChar> {
        guard let field = MemoryLayout<dirent>.offset(of: \.d_name) else { preconditionFailure("dirent has a name") }
        return (UnsafeRawPointer(entry) + field).assumingMemoryBound(to: CChar.self)
    }

    private func kind(of entry: UnsafeMutablePointer<dirent>) -> Kind {
        switch Int(entry.pointee.d_type) {
        case Int(DT_REG): return .object
        case Int(DT_DIR): return .folder
        case Int(DT_UNKNOWN): break
        default: return .other
        }
        // A file system that does not tell kinds in its entries.
        var status = stat()
        guard fstatat(descriptor, Self.name(of: entry), &status, AT_SYMLINK_NOFOLLOW) == 0 else { return .other }
        switch status.st_mode & S_IFMT {
        case S_IFREG: return .object
        case S_IFDIR: return .folder
        default: return .other
        }
    }
}
