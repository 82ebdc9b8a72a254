import Codec
import Glibc
import StoreCore

enum FilePath {
    /// Absolute, without `.`, `..` and doubled slashes; symbolic links stay.
    static func absolute(_ path: String) throws(StorageError) -> String {
        guard !path.isEmpty else { throw StorageError(.invalid, "an empty path") }
        guard !path.hasPrefix("/") else { return normal(path) }
        guard let buffer = getcwd(nil, 0) else { throw systemError("find the working directory") }
        defer { free(buffer) }
        return normal(String(cString: buffer) + "/" + path)
    }
    static func directory(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
    /// Whether `path` is `directory` or lies in it; both absolute.
    static func isInside(_ path: String, _ directory: String) -> Bool {
        path == directory || directory == "/" || path.hasPrefix(directory + "/")
    }

    private static func normal(_ path: String) -> String {
        var parts: [Substring] = []
        for part in path.split(separator: "/") where part != "." {
            if part == ".." { _ = parts.popLast() } else { parts.append(part) }
        }
        return "/" + parts.joined(separator: "/")
    }
}

/// A variable of the environment; nil where it is unset or empty.
func environment(_ name: String) -> String? {
    guard let value = getenv(name), value.pointee != 0 else { return nil }
    return String(cString: value)
}

/// Files that fit into memory many times over: configurations, keys, state.
enum SmallFile {
    static func read(_ path: String, bytesMax: Int = 64 << 10) throws(StorageError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw systemError("open \(path)") }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        // Growing would leave copies behind.
        bytes.reserveCapacity(min(bytesMax, 64 << 10) + (16 << 10))
        while true {
            var part = [UInt8](repeating: 0, count: 16 << 10)
            // It may be a key that is read.
            defer { SecretMemory.wipe(&part) }
            let count = part.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw systemError("read \(path)") }
            guard count > 0 else { return bytes }
            bytes.append(contentsOf: part.prefix(count))
            guard bytes.count <= bytesMax else {
                throw StorageError(.invalid, "\(path) is too long for what it should be")
            }
        }
    }

    /// Makes a new file with mode 0600, synced, and its name too. Throws `alreadyExists`, and leaves nothing behind
    /// where it fails.
    static func create(_ path: String, _ bytes: [UInt8]) throws(StorageError) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw systemError("make \(path)") }
        let isWritten = bytes.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) } == bytes.count
        guard isWritten, fsync(descriptor) == 0 else {
            let failure = systemError("write \(path)")
            close(descriptor)
            unlink(path)
            throw failure
        }
        close(descriptor)
        syncDirectory(FilePath.directory(of: path))
    }

    /// Replaces a file as a whole.
    static func replace(_ path: String, _ bytes: [UInt8]) throws(StorageError) {
        let new = "\(path).new"
        unlink(new)
        try create(new, bytes)
        guard rename(new, path) == 0 else { throw systemError("write \(path)") }
        syncDirectory(FilePath.directory(of: path))
    }

    /// File systems that cannot sync a directory keep names in order anyway.
    private static func syncDirectory(_ path: String) {
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { return }
        fsync(descriptor)
        close(descriptor)
    }
}
