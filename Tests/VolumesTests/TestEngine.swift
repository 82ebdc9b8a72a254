import Codec
import Glibc
import Logging
import ObjectStorage
import StoreCore
import Volumes

/// A store and a data directory that outlive the engines opened on them.
final class TestBed {
    let store: any ObjectStore
    let dataDirectory: String
    let unlock = Unlock.keyFile([UInt8](repeating: 7, count: 32))
    var settings: EngineSettings

    init(store: any ObjectStore = MemoryStore()) async throws {
        self.store = store
        (dataDirectory, settings) = Self.makeDirectory()
        try await Engine.initialize(store: store, unlock: unlock)
    }
    /// Another machine at the same store.
    init(sharing other: TestBed, through store: (any ObjectStore)? = nil) async throws {
        self.store = store ?? other.store
        (dataDirectory, settings) = Self.makeDirectory()
    }
    private static func makeDirectory() -> (String, EngineSettings) {
        var template = Array("/tmp/zerofs-volumes-XXXXXX".utf8CString)
        let directory = String(cString: mkdtemp(&template))
        var settings = EngineSettings(dataDirectory: directory)
        settings.diskCacheBytes = 0
        settings.volume.journalBytes = 64 << 20
        settings.volume.journalFileBytes = 2 << 20
        return (directory, settings)
    }
    deinit { removeTree(dataDirectory) }

    func open() async throws -> Engine {
        var log = Logger(label: "test")
        log.logLevel = .critical
        return try await Engine.open(store: store, unlock: unlock, settings: settings, log: log)
    }
}

/// Removes a folder of the test's own.
func removeTree(_ path: String) {
    guard let folder = opendir(path) else { return }
    while let entry = readdir(folder) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        guard name != ".", name != ".." else { continue }
        if entry.pointee.d_type == UInt8(DT_DIR) { removeTree("\(path)/\(name)") } else { unlink("\(path)/\(name)") }
    }
    closedir(folder)
    rmdir(path)
}

extension BlockDevice {
    func bytes(at offset: UInt64, count: Int) async throws -> [UInt8] {
        let buffer = IOBuffer(count: count)
        try await read(at: offset, into: buffer)
        return buffer.array
    }
    func write(_ bytes: [UInt8], at offset: UInt64, fua: Bool = false) async throws {
        try await write(at: offset, from: IOBuffer(bytes), fua: fua)
    }
}

/// Bytes that tell where they were written and by whom.
func pattern(_ seed: UInt64, count: Int) -> [UInt8] {
    var random = SplitMix64(seed: seed)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count { withUnsafeBytes(of: random.next()) { bytes.append(contentsOf: $0) } }
    return Array(bytes.prefix(count))
}
