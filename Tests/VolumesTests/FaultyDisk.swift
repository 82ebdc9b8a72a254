import StoreCore
import Synchronization

/// The machine's disk, which fails when it is told to, or waits for a test's hook.
final class FaultyDisk: LocalDisk {
    struct Faults {
        var failsSync = false
        var failsRemove = false
    }
    enum Change { case put, removeDirectory }
    typealias Hook = @Sendable (Change, _ path: String) async throws -> Void
    let faults = Mutex(Faults())
    private let hook = Mutex<Hook?>(nil)
    private let base: any LocalDisk = SystemDisk.shared

    /// Called before each of these changes; what it throws is the disk's answer.
    func beforeChange(_ body: Hook?) { hook.withLock { $0 = body } }

    func bootID() async throws -> UInt128 { try await base.bootID() }
    func makeDirectory(_ path: String, isNew: Bool) async throws { try await base.makeDirectory(path, isNew: isNew) }
    func create(_ path: String, zeroFilled byteCount: Int) async throws -> any LocalFile {
        FaultyFile(try await base.create(path, zeroFilled: byteCount), self)
    }
    func createScratch(_ path: String) async throws -> any LocalFile { try await base.createScratch(path) }
    func open(_ path: String) async throws -> any LocalFile { FaultyFile(try await base.open(path), self) }
    func put(_ path: String, _ bytes: [UInt8]) async throws {
        try await hook.withLock { $0 }?(.put, path)
        try await base.put(path, bytes)
    }
    func read(_ path: String) async throws -> [UInt8] { try await base.read(path) }
    func list(_ directory: String) async throws -> [String] { try await base.list(directory) }
    func remove(_ path: String) async throws {
        guard !faults.withLock({ $0.failsRemove }) else { throw StorageError(.unavailable, "cannot remove \(path)") }
        try await base.remove(path)
    }
    func removeDirectory(_ path: String) async throws {
        try await hook.withLock { $0 }?(.removeDirectory, path)
        try await base.removeDirectory(path)
    }
    func syncDirectory(_ path: String) async throws { try await base.syncDirectory(path) }
}

private final class FaultyFile: LocalFile {
    private let base: any LocalFile
    private let disk: FaultyDisk

    init(_ base: any LocalFile, _ disk: FaultyDisk) {
        self.base = base
        self.disk = disk
    }
    var byteCount: Int { base.byteCount }
    func store(at position: Int, count: Int, _ fill: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
        try base.store(at: position, count: count, fill)
    }
    func write(_ bytes: [UInt8], at position: Int) async throws { try await base.write(bytes, at: position) }
    func read(at position: Int, count: Int) async throws -> [UInt8] { try await base.read(at: position, count: count) }
    func sync() async throws {
        guard !disk.faults.withLock({ $0.failsSync }) else { throw StorageError(.unavailable, "Input/output error") }
        try await base.sync()
    }
}
