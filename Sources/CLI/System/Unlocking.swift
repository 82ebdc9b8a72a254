import Codec
import Glibc
import Logging
import StoreCore

/// Reads what opens the store from the files that the configuration names.
enum Unlocking {
    static func read(_ keys: ZerofsConfiguration.Keys, log: Logger) throws(StorageError) -> Unlock {
        if let path = keys.keyFile {
            warnIfOpen(path, log)
            return try KeyFile.parse(try content(path, "key file"), path: path)
        }
        guard let path = keys.passphraseFile else {
            throw StorageError(.invalid, "the configuration names neither keys.key_file nor keys.passphrase_file")
        }
        warnIfOpen(path, log)
        return try Unlock.readingPassphrase(try content(path, "passphrase file"), path: path)
    }

    private static func content(_ path: String, _ what: String) throws(StorageError) -> [UInt8] {
        do { return try SmallFile.read(path) } catch {
            guard error.code == .notFound else { throw error }
            throw StorageError(
                .notFound, "the \(what) \(path) is missing: restore it, without it the store cannot be read")
        }
    }
    private static func warnIfOpen(_ path: String, _ log: Logger) {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & 0o077 != 0 else { return }
        log.warning("\(path) can be read by others: chmod 600 \(path)")
    }
}
