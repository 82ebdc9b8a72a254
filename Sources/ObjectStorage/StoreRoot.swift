import Glibc
import StoreCore

/// The directory that holds a store, kept open: paths are relative to it, wherever it is moved.
final class StoreRoot: Sendable {
    let location: String
    let directory: DiskFile

    private init(location: String, directory: consuming DiskFile) {
        self.location = location
        self.directory = directory
    }

    static func open(_ path: String, createIfMissing: Bool) throws(StorageError) -> StoreRoot {
        let location = "file://\(path)"
        if createIfMissing { try make(path) }
        guard let directory = DiskFile(at: AT_FDCWD, path, O_RDONLY | O_DIRECTORY) else {
            let number = errno
            if number == ENOENT { throw StorageError(.notFound, "there is no directory \(path)") }
            throw diskError("cannot open directory \(path)", number)
        }
        return StoreRoot(location: location, directory: directory)
    }

    /// `mkdir -p`, each new directory synced into the one above it.
    private static func make(_ path: String) throws(StorageError) {
        var above = "/"
        for segment in path.split(separator: "/") {
            let next = above + (above == "/" ? "" : "/") + segment
            if mkdir(next, 0o700) == 0 {
                guard let parent = DiskFile(at: AT_FDCWD, above, O_RDONLY | O_DIRECTORY) else {
                    throw diskError("cannot open directory \(above)")
                }
                try parent.sync(for: "cannot sync directory \(above)")
            } else if errno != EEXIST {
                // A directory that exists may stand where nothing may be made, and then says so instead of EEXIST.
                let number = errno
                guard access(next, F_OK) == 0 else { throw diskError("cannot make directory \(next)", number) }
            }
            above = next
        }
    }

    /// Syncs the directory `path`, relative to the root ("" is the root). False where it does not exist.
    func syncDirectory(_ path: String) throws(StorageError) -> Bool {
        guard !path.isEmpty else {
            try directory.sync(for: "cannot sync directory \(location)")
            return true
        }
        guard let folder = DiskFile(at: directory.descriptor, path, O_RDONLY | O_DIRECTORY) else {
            if errno == ENOENT || errno == ENOTDIR { return false }
            throw diskError("cannot open directory \(location)/\(path)")
        }
        try folder.sync(for: "cannot sync directory \(location)/\(path)")
        return true
    }
}

extension ObjectKey {
    /// The directories that hold the object, outermost first, without the root: `a`, `a/b` for `a/b/c`.
    var folders: [String] {
        text.indices.filter { text[$0] == "/" }.map { String(text[..<$0]) }
    }
}
