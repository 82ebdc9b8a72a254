import Glibc
import StoreCore

/// Finds and loads zerofs.toml. Paths in it that are not absolute count from its directory.
enum ConfigurationFile {
    /// Where it is looked for, first to last, unless `--config` names it.
    static func candidates() -> [String] {
        var paths = ["./zerofs.toml"]
        if let home = environment("HOME") { paths.append("\(home)/.config/zerofs/zerofs.toml") }
        return paths + ["/etc/zerofs/zerofs.toml"]
    }

    /// - Throws: `notFound` with where it was looked for.
    static func find(_ explicit: String?) throws(StorageError) -> String {
        if let explicit { return try FilePath.absolute(explicit) }
        if let path = environment("ZEROFS_CONFIG") { return try FilePath.absolute(path) }
        for path in candidates() where access(path, F_OK) == 0 { return try FilePath.absolute(path) }
        throw StorageError(
            .notFound,
            """
            no configuration in \(candidates().joined(separator: ", ")): give --config FILE, or make a store with \
            `zerofs init`
            """)
    }

    static func load(_ explicit: String?) throws(StorageError) -> (path: String, configuration: ZerofsConfiguration) {
        let path = try find(explicit)
        let bytes: [UInt8]
        do { bytes = try SmallFile.read(path, bytesMax: 1 << 20) } catch {
            guard error.code == .notFound else { throw error }
            throw StorageError(.notFound, "there is no configuration \(path): make one with `zerofs init`")
        }
        var configuration = try ConfigurationReader.read(String(decoding: bytes, as: UTF8.self), path: path)
        configuration.resolvePaths(from: FilePath.directory(of: path))
        return (path, configuration)
    }
}

extension ZerofsConfiguration {
    fileprivate mutating func resolvePaths(from directory: String) {
        func resolved(_ path: String) -> String { path.hasPrefix("/") ? path : "\(directory)/\(path)" }
        data.directory = resolved(data.directory)
        keys.keyFile = keys.keyFile.map(resolved)
        keys.passphraseFile = keys.passphraseFile.map(resolved)
        store.caFile = store.caFile.map(resolved)
        nbd.socket = nbd.socket.map(resolved)
        tls.certificateFile = tls.certificateFile.map(resolved)
        tls.keyFile = tls.keyFile.map(resolved)
        tls.caFile = tls.caFile.map(resolved)
        tls.crlFile = tls.crlFile.map(resolved)
        tls.pskFile = tls.pskFile.map(resolved)
        control.socket = control.socket.map(resolved)
    }
}
