import Glibc
import StoreCore
import Synchronization

/// Where a directory store writes objects before they get their names: `.tmp/<random>/<number>`.
///
/// Each open store has a folder of its own and holds a lock (flock) on it for as long as it lives. Whoever can take the
/// lock of another's folder knows that its owner is dead and clears it away: no clock and no process id is trusted, so
/// that this holds across containers too. Where the file system has no such locks nothing is swept.
final class TemporaryArea: Sendable {
    static let folder = ".tmp"

    private let root: StoreRoot
    private struct State {
        var home: TemporaryHome?
        var files: UInt64 = 0
    }
    /// Guards the folder in use and the count that names its files.
    private let state = Mutex(State())

    init(root: StoreRoot) { self.root = root }

    /// Writes and syncs `bytes` in a file without a name in the store yet.
    func write(_ bytes: [UInt8], for key: ObjectKey) throws(StorageError) -> TemporaryFile {
        let file = try create(for: key)
        try file.file.write(bytes, for: "cannot write object \(key) in \(root.location)")
        try file.file.sync(for: "cannot sync object \(key) in \(root.location)")
        return file
    }

    private func create(for key: ObjectKey) throws(StorageError) -> TemporaryFile {
        for _ in 0..<10 {
            let (home, number) = try currentHome()
            if let file = DiskFile(at: home.directory.descriptor, number.hex, O_CREAT | O_EXCL | O_WRONLY, mode: 0o600)
            {
                return TemporaryFile(file: file, name: number.hex, home: home)
            }
            // The folder may have been removed by hand; a new one is made.
            guard errno == ENOENT else { throw diskError("cannot create object \(key) in \(root.location)") }
            state.withLock { if $0.home === home { $0.home = nil } }
        }
        throw StorageError(.unavailable, "\(root.location)/\(Self.folder) is removed again and again")
    }

    private func currentHome() throws(StorageError) -> (TemporaryHome, UInt64) {
        func take(_ made: TemporaryHome?) -> (TemporaryHome, UInt64)? {
            state.withLock { state in
                if state.home == nil { state.home = made }
                state.files += 1
                return state.home.map { ($0, state.files) }
            }
        }
        if let current = take(nil) { return current }
        let made = try TemporaryHome.make(in: root)
        return take(made) ?? (made, 0)
    }

    /// Removes what dead owners left. What it cannot look into or remove stays and costs only space: a store that may
    /// only be read opens too.
    func sweep() {
        do { try removeLeftovers() } catch { return }
    }

    private func removeLeftovers() throws(StorageError) {
        let base = root.directory.descriptor
        for name in try FolderReader(at: base, Self.folder)?.allNames() ?? [] {
            let path = "\(Self.folder)/\(name)"
            guard let directory = DiskFile(at: base, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW),
                flock(directory.descriptor, LOCK_EX | LOCK_NB) == 0
            else { continue }
            for file in try FolderReader(at: directory.descriptor, ".")?.allNames() ?? [] {
                unlinkat(directory.descriptor, file, 0)
            }
            unlinkat(base, path, Int32(AT_REMOVEDIR))
        }
    }
}

/// One store's own folder, locked while this lives and removed with it.
final class TemporaryHome: Sendable {
    let directory: DiskFile
    private let path: String
    private let root: StoreRoot

    private init(directory: consuming DiskFile, path: String, root: StoreRoot) {
        self.directory = directory
        self.path = path
        self.root = root
    }
    deinit { unlinkat(root.directory.descriptor, path, Int32(AT_REMOVEDIR)) }

    static func make(in root: StoreRoot) throws(StorageError) -> TemporaryHome {
        let base = root.directory.descriptor
        for _ in 0..<100 {
            let path = "\(TemporaryArea.folder)/\(UInt64.random(in: .min ... .max).hex)"
            guard mkdirat(base, TemporaryArea.folder, 0o700) == 0 || errno == EEXIST else {
                throw diskError("cannot write in \(root.location)")
            }
            guard mkdirat(base, path, 0o700) == 0 else {
                if errno == EEXIST || errno == ENOENT { continue }
                throw diskError("cannot write in \(root.location)")
            }
            // A sweeper may take the folder between mkdir and flock: then another is made.
            guard let directory = DiskFile(at: base, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) else { continue }
            if flock(directory.descriptor, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK { continue }
            guard isStill(directory, at: path, in: base) else { continue }
            return TemporaryHome(directory: directory, path: path, root: root)
        }
        throw StorageError(.unavailable, "cannot keep a temporary folder in \(root.location)")
    }

    private static func isStill(_ directory: borrowing DiskFile, at path: String, in base: Int32) -> Bool {
        var opened = stat()
        var named = stat()
        return fstat(directory.descriptor, &opened) == 0 && fstatat(base, path, &named, AT_SYMLINK_NOFOLLOW) == 0
            && opened.st_ino == named.st_ino && opened.st_dev == named.st_dev
    }
}

/// A written file that has only its temporary name, which goes with it.
struct TemporaryFile: ~Copyable {
    let file: DiskFile
    let name: String
    let home: TemporaryHome
    deinit { unlinkat(home.directory.descriptor, name, 0) }
}
