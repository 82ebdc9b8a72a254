import Simulation
import StoreCore

/// A local disk whose operations take time, and which writes down what each does and when that is durable.
final class RecordingDisk: LocalDisk {
    let base: StateDisk
    let host: Int
    let recorder: Recorder
    let pause: Pause

    init(_ base: StateDisk, host: Int, recorder: Recorder, pause: Pause) {
        self.base = base
        self.host = host
        self.recorder = recorder
        self.pause = pause
    }

    func bootID() async throws -> UInt128 { base.state.bootID }
    func list(_ directory: String) async throws -> [String] {
        await pause.disk()
        return base.names(in: directory)
    }
    func read(_ path: String) async throws -> [UInt8] {
        await pause.disk()
        return try await base.read(path)
    }
    func open(_ path: String) async throws -> any LocalFile {
        await pause.disk()
        return RecordingFile(try base.openFile(path), self)
    }
    func makeDirectory(_ path: String, isNew: Bool) async throws {
        await pause.disk()
        if base.state.names[path] != nil {
            if isNew { throw StorageError(.alreadyExists, "\(path) exists") }
            return
        }
        for directory in base.state.missing(to: path) {
            await perform(.names([NameChange(path: directory, node: .directory)], isDurable: true))
        }
    }
    func create(_ path: String, zeroFilled byteCount: Int) async throws -> any LocalFile {
        await pause.disk()
        try base.checkNew(path)
        return try await make(path, [UInt8](repeating: 0, count: byteCount))
    }
    func createScratch(_ path: String) async throws -> any LocalFile {
        await pause.disk()
        return try await make(path, [])
    }
    private func make(_ path: String, _ bytes: [UInt8]) async throws -> any LocalFile {
        let file = base.reserveFile()
        await perform(.names([NameChange(path: path, node: .file(file), contents: bytes)], isDurable: false))
        return RecordingFile(try base.openFile(path), self)
    }
    func put(_ path: String, _ bytes: [UInt8]) async throws {
        await pause.disk()
        let file = base.reserveFile()
        let temporary = path + ".new"
        await perform(.names([NameChange(path: temporary, node: .file(file), contents: bytes)], isDurable: false))
        await perform(
            .names(
                [NameChange(path: temporary, node: nil), NameChange(path: path, node: .file(file), contents: bytes)],
                isDurable: true))
    }
    func remove(_ path: String) async throws {
        await pause.disk()
        guard base.state.names[path] != nil else { return }
        await perform(.names([NameChange(path: path, node: nil)], isDurable: false))
    }
    func removeDirectory(_ path: String) async throws {
        await pause.disk()
        guard base.state.names[path] != nil else { return }
        try base.checkEmpty(path)
        await perform(.names([NameChange(path: path, node: nil)], isDurable: true))
    }
    func syncDirectory(_ path: String) async throws { await perform(.syncDirectory(path)) }

    func perform(_ operation: DiskOperation) async {
        let number = recorder.nextOperation()
        note(.began(number, operation))
        await pause.disk()
        if case .names(let changes, _) = operation { base.state.apply(changes) }
        note(.visible(number))
        await pause.disk()
        note(.returned(number))
    }
    func note(_ event: DiskEvent) { recorder.add(.disk(host: host, event)) }
}

final class RecordingFile: LocalFile {
    private let base: StateFile
    private let disk: RecordingDisk

    init(_ base: StateFile, _ disk: RecordingDisk) {
        self.base = base
        self.disk = disk
    }

    var byteCount: Int { base.byteCount }
    func store(at position: Int, count: Int, _ fill: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
        var bytes = [UInt8](repeating: 0, count: count)
        try bytes.withUnsafeMutableBytes(fill)
        base.put(bytes, at: position)
        disk.note(.stored(file: base.number, position: position, bytes: bytes))
    }
    func write(_ bytes: [UInt8], at position: Int) async throws {
        await disk.pause.disk()
        base.put(bytes, at: position)
        disk.note(.stored(file: base.number, position: position, bytes: bytes))
    }
    func read(at position: Int, count: Int) async throws -> [UInt8] {
        await disk.pause.disk()
        return try await base.read(at: position, count: count)
    }
    func sync() async throws { await disk.perform(.sync(file: base.number)) }
}
