import Codec
import Glibc
import Logging
import ObjectStorage
import StoreCore
import Volumes

/// What `init` is about to do: all that can be refused is refused before anything is written, and what was written is
/// taken back where a later step fails.
struct InitPlan {
    let configPath: String
    private(set) var configuration = ZerofsConfiguration()
    private(set) var newKey: [UInt8]?
    private let location: StoreLocation

    init(_ options: Init, configPath: String) throws(StorageError) {
        self.configPath = configPath
        let home = FilePath.directory(of: configPath)
        location = try StoreLocation(parsing: options.store)
        configuration.store.url = location.description
        configuration.store.endpoint = options.endpoint
        configuration.store.region = options.region
        let dataDefault = home == "/etc/zerofs" ? "/var/lib/zerofs" : "\(home)/zerofs-data"
        configuration.data.directory = try FilePath.absolute(options.dataDir ?? dataDefault)
        configuration.keys.passphraseFile = try Self.absolute(options.passphraseFile)
        configuration.keys.keyFile = try Self.absolute(options.keyFile)
        if options.passphraseFile == nil, options.keyFile == nil {
            configuration.keys.keyFile = "\(home)/zerofs.key"
            newKey = try KeyFile.generate()
        }
        try refuseWhatExists(home)
    }

    private static func absolute(_ path: String?) throws(StorageError) -> String? {
        guard let path else { return nil }
        return try FilePath.absolute(path)
    }

    private func refuseWhatExists(_ home: String) throws(StorageError) {
        guard access(configPath, F_OK) != 0 else {
            throw StorageError(.alreadyExists, "\(configPath) exists: give another --config, or remove it")
        }
        if newKey != nil, let key = configuration.keys.keyFile, access(key, F_OK) == 0 {
            throw StorageError(.alreadyExists, "\(key) exists: use it with --key-file \(key), or move it away")
        }
        guard case .directory(let store) = location else { return }
        for path in [configPath, configuration.data.directory] where FilePath.isInside(path, store) {
            throw StorageError(
                .invalid, "\(path) would lie in the store \(store): choose another place for one of them")
        }
    }

    /// A store has its place for itself: the objects of others would be counted, and might be taken for its own.
    func requireEmpty(_ opened: OpenedStore) async throws {
        let superblocks = try await opened.store.list(prefix: "superblock/", after: nil, limit: 1)
        guard superblocks.objects.isEmpty else {
            throw StorageError(.alreadyExists, "\(location) holds a zerofs store already: choose another place")
        }
        let others = try await opened.store.list(prefix: "", after: nil, limit: 100).objects
        let foreign = others.first { !$0.key.text.hasPrefix("probe/") }?.key.text ?? Self.foreignFile(location)
        if let foreign {
            throw StorageError(.alreadyExists, "\(location) is not empty, it holds \(foreign): choose an empty place")
        }
    }

    /// Files that no object key could name.
    private static func foreignFile(_ location: StoreLocation) -> String? {
        guard case .directory(let path) = location, let directory = opendir(path) else { return nil }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) { bytes in
                String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix("."), name != "probe" { return name }
        }
        return nil
    }

    mutating func carryOut(in opened: OpenedStore, log: Logger) async throws {
        var made: [String] = []
        do {
            try makeHome()
            if let newKey, let path = configuration.keys.keyFile {
                try SmallFile.create(path, Array(KeyFile.text(of: newKey).utf8))
                made.append(path)
            }
            let unlock = try Unlocking.read(configuration.keys, log: log)
            try SmallFile.create(configPath, Array(ConfigurationText.write(configuration).utf8))
            made.append(configPath)
            try await Engine.initialize(store: opened.store, unlock: unlock)
        } catch {
            for path in made { unlink(path) }
            throw error
        }
    }

    private func makeHome() throws(StorageError) {
        let home = FilePath.directory(of: configPath)
        guard mkdir(home, 0o755) != 0, errno != EEXIST else { return }
        throw systemError("make the directory \(home)")
    }
}
