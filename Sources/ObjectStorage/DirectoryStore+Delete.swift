import Glibc
import StoreCore

extension DirectoryStore {
    /// Deletes all it can, then throws the first failure.
    func deleteNow(_ keys: [ObjectKey]) throws(StorageError) {
        var failure: StorageError?
        var touched: Set<[String]> = []
        for key in keys {
            if unlinkat(root.directory.descriptor, key.text, 0) == 0 {
                touched.insert(key.folders)
                continue
            }
            // EISDIR: a directory, so that there is no object of that name.
            let number = errno
            guard ![ENOENT, ENOTDIR, EISDIR].contains(number) else { continue }
            failure = failure ?? diskError("cannot delete object \(key) in \(location)", number)
        }
        for folders in touched {
            do { try prune(folders) } catch { failure = failure ?? error }
        }
        if let failure { throw failure }
    }

    /// Removes the directories that became empty, innermost first, and syncs the one that stays.
    private func prune(_ folders: [String]) throws(StorageError) {
        for folder in folders.reversed() {
            // Looking first spares a directory that stays from being forgotten.
            let reader = try FolderReader(at: root.directory.descriptor, folder)
            if try reader?.isEmpty() == false {
                _ = try root.syncDirectory(folder)
                return
            }
            names.forget(folder)
            // A creation may have been quicker; then the directory stays, and so do those above it.
            unlinkat(root.directory.descriptor, folder, Int32(AT_REMOVEDIR))
        }
        _ = try root.syncDirectory("")
    }
}
