import StoreCore

/// What processes find on a disk: names, files, and which run of the machine this is.
struct DiskState: Sendable {
    var names: [String: DiskNode] = [:]
    var files: [Int: [UInt8]] = [:]
    var bootID: UInt128 = 1
    var lastFile = 0

    mutating func apply(_ changes: [NameChange]) {
        for change in changes {
            names[change.path] = change.node
            if case .file(let number)? = change.node, let contents = change.contents {
                if files[number] == nil { files[number] = contents }
                lastFile = max(lastFile, number)
            }
        }
    }
    /// The directories that are missing down to `path`, the uppermost first.
    func missing(to path: String) -> [String] {
        var missing: [String] = []
        var next = path
        while next != "/", next != ".", names[next] == nil {
            missing.append(next)
            next = parent(of: next)
        }
        return missing.reversed()
    }
    /// What lies in a directory that was lost is not found again.
    mutating func dropOrphans() {
        let all = names
        names = all.filter { path, _ in
            var directory = parent(of: path)
            while directory != "/", directory != "." {
                guard all[directory] != nil else { return false }
                directory = parent(of: directory)
            }
            return true
        }
        let kept = Set(names.values)
        files = files.filter { kept.contains(.file($0.key)) }
    }
}

/// A disk that answers at once and forgets nothing: what a recovery runs on.
final class StateDisk: LocalDisk, @unchecked Sendable {
    var state: DiskState
    init(_ state: DiskState) { self.state = state }

    func reserveFile() -> Int {
        state.lastFile += 1
        return state.lastFile
    }
    func checkNew(_ path: String) throws {
        guard state.names[path] == nil else { throw StorageError(.alreadyExists, "\(path) exists") }
    }
    func checkEmpty(_ path: String) throws {
        guard names(in: path).isEmpty else {
            throw StorageError(.unavailable, "the directory \(path) is not empty")
        }
    }
    func names(in directory: String) -> [String] {
        let prefix = directory + "/"
        return state.names.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }
            .filter { !$0.contains("/") }.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }
    func openFile(_ path: String) throws -> StateFile {
        guard case .file(let number)? = state.names[path], let bytes = state.files[number] else {
            throw StorageError(.notFound, "there is no \(path)")
        }
        return StateFile(number, bytes.count, self)
    }

    func bootID() async throws -> UInt128 { state.bootID }
    func makeDirectory(_ path: String, isNew: Bool) async throws {
        if isNew { try checkNew(path) }
        state.apply(state.missing(to: path).map { NameChange(path: $0, node: .directory) })
    }
    func create(_ path: String, zeroFilled byteCount: Int) async throws -> any LocalFile {
        try checkNew(path)
        return try make(path, [UInt8](repeating: 0, count: byteCount))
    }
    func createScratch(_ path: String) async throws -> any LocalFile { try make(path, []) }
    private func make(_ path: String, _ bytes: [UInt8]) throws -> any LocalFile {
        guard state.names[parent(of: path)] == .directory else {
            throw StorageError(.notFound, "there is no directory for \(path)")
        }
        state.apply([NameChange(path: path, node: .file(reserveFile()), contents: bytes)])
        return try openFile(path)
    }
    func open(_ path: String) async throws -> any LocalFile { try openFile(path) }
    func put(_ path: String, _ bytes: [UInt8]) async throws { _ = try make(path, bytes) }
    func read(_ path: String) async throws -> [UInt8] {
        let file = try openFile(path)
        return state.files[file.number] ?? []
    }
    func list(_ directory: String) async throws -> [String] { names(in: directory) }
    func remove(_ path: String) async throws { state.names[path] = nil }
    func removeDirectory(_ path: String) async throws {
        try checkEmpty(path)
        state.names[path] = nil
    }
    func syncDirectory(_ path: String) async throws {}
}

final class StateFile: LocalFile {
    let number: Int
    let byteCount: Int
    private let disk: StateDisk

    init(_ number: Int, _ byteCount: Int, _ disk: StateDisk) {
        self.number = number
        self.byteCount = byteCount
        self.disk = disk
    }

    func put(_ bytes: [UInt8], at position: Int) {
        let end = position + bytes.count
        let have = disk.state.files[number]?.count ?? 0
        if have < end { disk.state.files[number]?.append(contentsOf: [UInt8](repeating: 0, count: end - have)) }
        disk.state.files[number]?.replaceSubrange(position..<end, with: bytes)
    }
    func store(at position: Int, count: Int, _ fill: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
        try disk.state.files[number]?.withUnsafeMutableBytes { file in
            try fill(UnsafeMutableRawBufferPointer(rebasing: file[position..<position + count]))
        }
    }
    func write(_ bytes: [UInt8], at position: Int) async throws { put(bytes, at: position) }
    func read(at position: Int, count: Int) async throws -> [UInt8] {
        let bytes = disk.state.files[number] ?? []
        return Array(bytes[min(position, bytes.count)..<min(position + count, bytes.count)])
    }
    func sync() async throws {}
}
