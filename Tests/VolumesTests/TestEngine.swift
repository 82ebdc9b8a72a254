import Codec
import Foundation
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
    var machine = Machine.system
    let events = RecordedEvents()

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
    /// The same machine, or another one with a copy of its disk, after all that ran on it was cut off.
    init(crashed other: TestBed, bootID: UInt128?) async throws {
        store = other.store
        settings = other.settings
        dataDirectory = Self.makeDirectory().0
        removeTree(dataDirectory)
        try FileManager.default.copyItem(atPath: other.dataDirectory, toPath: dataDirectory)
        settings.dataDirectory = dataDirectory
        if let bootID { machine.disk = AnotherBoot(base: SystemDisk.shared, boot: bootID) }
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
        try await Engine.open(
            store: store, unlock: unlock, settings: settings, machine: machine, log: events.logger)
    }
}

/// A disk of a machine that was started anew.
struct AnotherBoot: LocalDisk {
    let base: any LocalDisk
    let boot: UInt128

    func bootID() async throws -> UInt128 { boot }
    func makeDirectory(_ path: String, isNew: Bool) async throws { try await base.makeDirectory(path, isNew: isNew) }
    func create(_ path: String, zeroFilled byteCount: Int) async throws -> any LocalFile {
        try await base.create(path, zeroFilled: byteCount)
    }
    func createScratch(_ path: String) async throws -> any LocalFile { try await base.createScratch(path) }
    func open(_ path: String) async throws -> any LocalFile { try await base.open(path) }
    func put(_ path: String, _ bytes: [UInt8]) async throws { try await base.put(path, bytes) }
    func read(_ path: String) async throws -> [UInt8] { try await base.read(path) }
    func list(_ directory: String) async throws -> [String] { try await base.list(directory) }
    func remove(_ path: String) async throws { try await base.remove(path) }
    func removeDirectory(_ path: String) async throws { try await base.removeDirectory(path) }
    func syncDirectory(_ path: String) async throws { try await base.syncDirectory(path) }
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
