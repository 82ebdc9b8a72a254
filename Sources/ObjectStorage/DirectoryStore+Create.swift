import Glibc
import StoreCore

extension DirectoryStore {
    /// How often a creation makes its directory anew when deletions prune it: each time a rival made progress.
    private static let linkAttemptsMax = 10_000

    func createNow(_ key: ObjectKey, _ bytes: [UInt8]) throws(StorageError) -> CreateOutcome {
        // Who comes late need not write the object first.
        if try headNow(key) != nil { return try existing(key) }
        let file = try temporaries.write(bytes, for: key)
        guard try link(file, to: key) else { return try existing(key) }
        try persistName(of: key)
        return .created
    }

    /// A rival may have linked its object and not synced yet: who acts upon `.exists` must not do so too early.
    private func existing(_ key: ObjectKey) throws(StorageError) -> CreateOutcome {
        try persistName(of: key)
        return .exists
    }

    /// Gives the file its name; false where another object holds it.
    private func link(_ file: borrowing TemporaryFile, to key: ObjectKey) throws(StorageError) -> Bool {
        let what = "cannot create object \(key) in \(location)"
        for _ in 0..<Self.linkAttemptsMax {
            if linkat(file.home.directory.descriptor, file.name, root.directory.descriptor, key.text, 0) == 0 {
                return true
            }
            let number = errno
            switch number {
            case EEXIST:
                // Over NFS the answer to a link that happened can get lost; the retry then finds its own.
                if try file.file.status().st_nlink > 1 { return true }
                if try !removeEmptyFolder(inPlaceOf: key) { return false }
            case ENOENT:
                guard try file.file.status().st_nlink > 0 else {
                    throw StorageError(.unavailable, "\(what): its temporary file was removed")
                }
                try makeFolders(of: key)
            case ENOTDIR:
                throw StorageError(.invalid, "\(what): one of its folders is an object")
            case EPERM, EOPNOTSUPP, EMLINK:
                throw StorageError(.unsupported, "\(what): the file system has no hard links, use another one")
            default:
                throw diskError(what, number)
            }
        }
        throw StorageError(.unavailable, "\(what): its folder is removed again and again")
    }

    /// True when the name was held by an empty directory, which a deletion left behind, and is free now. False when an
    /// object holds it. Throws `invalid` for a directory with objects.
    private func removeEmptyFolder(inPlaceOf key: ObjectKey) throws(StorageError) -> Bool {
        var status = stat()
        guard fstatat(root.directory.descriptor, key.text, &status, AT_SYMLINK_NOFOLLOW) == 0,
            status.st_mode & S_IFMT == S_IFDIR
        else { return false }
        names.forget(key.text)
        if unlinkat(root.directory.descriptor, key.text, Int32(AT_REMOVEDIR)) == 0 || errno == ENOENT { return true }
        throw StorageError(.invalid, "cannot create object \(key) in \(location): it is a folder of others")
    }

    private func makeFolders(of key: ObjectKey) throws(StorageError) {
        for folder in key.folders where mkdirat(root.directory.descriptor, folder, 0o700) != 0 {
            let number = errno
            if number == ENOENT { return }
            guard number == EEXIST else { throw diskError("cannot make directory \(location)/\(folder)", number) }
        }
    }

    /// Syncs the object's name, and the names of the directories above it that are new. A failure leaves open whether
    /// the object survives a crash, so that it is `unavailable` whatever its reason.
    private func persistName(of key: ObjectKey) throws(StorageError) {
        do {
            let folders = key.folders
            let prunings = names.prunings
            // A directory that is gone takes with it an object that was deleted meanwhile.
            guard try root.syncDirectory(folders.last ?? "") else { return }
            for (index, folder) in folders.enumerated().reversed() where !names.contains(folder) {
                guard try root.syncDirectory(index == 0 ? "" : folders[index - 1]) else { return }
                names.insert(folder, ifPrunings: prunings)
            }
        } catch {
            throw StorageError(.unavailable, "object \(key) may not be durable in \(location)", cause: error)
        }
    }
}
