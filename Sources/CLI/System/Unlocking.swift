import Codec
import Glibc
import Logging
import StoreCore
import Volumes

/// Reads what opens the store from the files that the configuration names.
enum Unlocking {
    static func read(_ keys: ZerofsConfiguration.Keys, log: Logger) throws(StorageError) -> Unlock {
        let unlock = try find(keys, log: log)
        if let advice = SecretMemory.advice { log.warning("\(advice)") }
        return unlock
    }

    /// Reads them again, for when the keys were changed elsewhere.
    static func again(_ keys: ZerofsConfiguration.Keys, _ log: Logger) -> UnlockSource {
        { try read(keys, log: log) }
    }

    private static func find(_ keys: ZerofsConfiguration.Keys, log: Logger) throws(StorageError) -> Unlock {
        if let path = keys.keyFile {
            warnIfOpen(path, log)
            var text = try content(path, "key file")
            defer { SecretMemory.wipe(&text) }
            return try KeyFile.parse(text, path: path)
        }
        guard let path = keys.passphraseFile else {
            throw StorageError(.invalid, "the configuration names neither keys.key_file nor keys.passphrase_file")
        }
        warnIfOpen(path, log)
        var text = try content(path, "passphrase file")
        defer { SecretMemory.wipe(&text) }
        return try Unlock.readingPassphrase(text, path: path)
    }

    private static func content(_ path: String, _ what: String) throws(StorageError) -> [UInt8] {
        do { return try SmallFile.read(path) } catch {
            guard error.code == .notFound else { throw error }
            throw StorageError(
                .notFound, "the \(what) \(path) is missing: restore it, without it the store cannot be read")
        }
    }
    static func isOpenToOthers(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & 0o077 != 0
    }
    private static func warnIfOpen(_ path: String, _ log: Logger) {
        guard isOpenToOthers(path) else { return }
        log.warning("\(path) can be read by others: chmod 600 \(path)")
    }
}
