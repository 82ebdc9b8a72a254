public import StoreCore

/// How often a disk misbehaves; each is a probability of one call, unless said otherwise.
public struct DiskFaults: Sendable {
    /// A sync fails; then some of the dirty pages were written and the others are lost, while a later sync succeeds, as
    /// on Linux.
    public var syncFails = 0.0
    /// A sync takes up to a second.
    public var syncIsSlow = 0.0
    /// Bytes of all files; beyond, the disk is full. nil: never.
    public var capacity: Int?
    public init() {}
}

/// The disk of a host. What a process writes is in `image`, which outlives the process; `crash` is a loss of power.
/// Processes see it through `MountedDisk`.
public final class SimulatedDisk: @unchecked Sendable {
    public var image = DiskImage()
    public var faults = DiskFaults()
    /// Faults that struck, by kind.
    public private(set) var faultCounts: [String: Int] = [:]
    /// Called after every call that changed what survives a loss of power, with the image as it is then.
    public var onDurable: ((_ what: String, DiskImage) -> Void)?
    let scheduler: Scheduler

    public init(scheduler: Scheduler) { self.scheduler = scheduler }

    public func crash() {
        let keeps = [0, 1, 0.5, 0.1, 0.9][Int(scheduler.random.next() % 5)]
        image.crash(keeping: keeps, using: &scheduler.random)
    }
    public func lose() {
        let boot = image.bootID
        image = DiskImage()
        image.bootID = boot + 1
    }

    func count(_ fault: String) { faultCounts[fault, default: 0] += 1 }
    func noteDurable(_ what: @autoclosure () -> String) { onDurable?(what(), image) }

    /// Throws `full` where `bytes` more do not fit.
    func reserve(_ bytes: Int, _ path: String) throws {
        guard let capacity = faults.capacity, image.byteCount + bytes > capacity else { return }
        count("disk full")
        throw StorageError(.full, "no space left on the simulated disk for \(path)")
    }
}

/// A host's disk, as one process has it: once the process has ended nothing that it still does has an effect.
public final class MountedDisk: LocalDisk {
    let disk: SimulatedDisk
    let process: SimulatedProcess

    public init(_ disk: SimulatedDisk, process: SimulatedProcess) {
        self.disk = disk
        self.process = process
    }

    /// Waits as long as such a call takes. Throws where the process has ended.
    func begin(_ most: UInt64 = 200_000) async throws {
        // Cancelling the task does not stop a system call.
        await disk.scheduler.pass(disk.scheduler.delay(1_000, most))
        guard process.isAlive else { throw StorageError(.unavailable, "the process has ended") }
    }

    public func bootID() async throws -> UInt128 {
        try await begin()
        return disk.image.bootID
    }
    public func makeDirectory(_ path: String, isNew: Bool) async throws {
        try await begin()
        if disk.image.names[path] != nil {
            if isNew { throw StorageError(.alreadyExists, "\(path) exists") }
            return
        }
        var missing = [path]
        while let parent = missing.last.map(DiskImage.parent), parent != "/", parent != ".",
            disk.image.names[parent] == nil
        {
            missing.append(parent)
        }
        for directory in missing.reversed() { disk.image.setName(directory, .directory, isDurable: true) }
        disk.noteDurable("make \(path)")
    }
    public func create(_ path: String, zeroFilled byteCount: Int) async throws -> any LocalFile {
        try await begin(2_000_000)
        guard disk.image.names[path] == nil else { throw StorageError(.alreadyExists, "\(path) exists") }
        try disk.reserve(byteCount, path)
        return try add(path, DiskImage.File(synced: [UInt8](repeating: 0, count: byteCount)))
    }
    public func createScratch(_ path: String) async throws -> any LocalFile {
        try await begin()
        return try add(path, DiskImage.File())
    }
    private func add(_ path: String, _ file: DiskImage.File) throws -> any LocalFile {
        guard disk.image.names[DiskImage.parent(of: path)] == .directory else {
            throw StorageError(.notFound, "there is no directory for \(path)")
        }
        disk.image.lastFile += 1
        disk.image.files[disk.image.lastFile] = file
        disk.image.setName(path, .file(disk.image.lastFile), isDurable: false)
        return SimulatedFile(disk.image.lastFile, file.contents.count, path, self)
    }
    public func open(_ path: String) async throws -> any LocalFile {
        try await begin()
        guard let number = disk.image.file(path), let file = disk.image.files[number] else {
            throw StorageError(.notFound, "there is no \(path)")
        }
        return SimulatedFile(number, file.contents.count, path, self)
    }
    public func put(_ path: String, _ bytes: [UInt8]) async throws {
        try await begin()
        try disk.reserve(bytes.count, path)
        let temporary = path + ".new"
        _ = try add(temporary, DiskImage.File(synced: bytes))
        let number = disk.image.lastFile
        try await begin(5_000_000)
        disk.image.setName(temporary, nil, isDurable: true)
        disk.image.setName(path, .file(number), isDurable: true)
        disk.noteDurable("put \(path)")
    }
    public func read(_ path: String) async throws -> [UInt8] {
        try await begin()
        guard let number = disk.image.file(path), let file = disk.image.files[number] else {
            throw StorageError(.notFound, "there is no \(path)")
        }
        return file.contents
    }
    public func list(_ directory: String) async throws -> [String] {
        try await begin()
        let prefix = directory + "/"
        return disk.image.names.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) }
            .filter { !$0.contains("/") }.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }
    public func remove(_ path: String) async throws {
        try await begin()
        if disk.image.file(path) != nil { disk.image.setName(path, nil, isDurable: false) }
    }
    public func removeDirectory(_ path: String) async throws {
        try await begin()
        guard disk.image.names[path] != nil else { return }
        let isEmpty = !disk.image.names.keys.contains { $0.hasPrefix(path + "/") }
        guard isEmpty else { throw StorageError(.unavailable, "the directory \(path) is not empty") }
        disk.image.setName(path, nil, isDurable: true)
        disk.noteDurable("remove \(path)")
    }
    public func syncDirectory(_ path: String) async throws {
        try await begin(3_000_000)
        disk.image.syncNames(of: path)
        disk.noteDurable("sync \(path)")
    }
}

/// An open file of a process.
final class SimulatedFile: LocalFile, @unchecked Sendable {
    let byteCount: Int
    private let number: Int
    private let path: String
    private let mount: MountedDisk
    private var disk: SimulatedDisk { mount.disk }

    init(_ number: Int, _ byteCount: Int, _ path: String, _ mount: MountedDisk) {
        self.number = number
        self.byteCount = byteCount
        self.path = path
        self.mount = mount
    }

    func store(at position: Int, count: Int, _ fill: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
        var bytes = [UInt8](repeating: 0, count: count)
        try bytes.withUnsafeMutableBytes(fill)
        guard mount.process.isAlive else { return }
        guard mount.process.diesInNextStore else {
            disk.image.files[number]?.write(bytes, at: position)
            return
        }
        let kept = Int(disk.scheduler.random.next() % UInt64(count + 1))
        disk.image.files[number]?.write(bytes.prefix(kept), at: position)
        disk.count("store cut by SIGKILL")
        mount.process.kill()
    }
    func write(_ bytes: [UInt8], at position: Int) async throws {
        try await mount.begin()
        let end = disk.image.files[number]?.contents.count ?? 0
        try disk.reserve(max(0, position + bytes.count - end), path)
        disk.image.files[number]?.write(bytes, at: position)
    }
    func read(at position: Int, count: Int) async throws -> [UInt8] {
        try await mount.begin()
        let contents = disk.image.files[number]?.contents ?? []
        return Array(contents.dropFirst(position).prefix(count))
    }
    func sync() async throws {
        let isSlow = disk.scheduler.chance(disk.faults.syncIsSlow)
        // What is stored while a sync runs may be in it or not: here it is not.
        let covered = disk.image.files[number]?.dirtySectors ?? []
        let contents = disk.image.files[number]?.contents ?? []
        try await mount.begin(isSlow ? 1_000_000_000 : 3_000_000)
        guard disk.image.files[number] != nil else { return }
        let fails = disk.scheduler.chance(disk.faults.syncFails)
        for sector in covered.sorted() {
            // Dirtied again meanwhile: what is there now is not covered, what was there is.
            let range = (sector * DiskImage.sectorBytes)..<min((sector + 1) * DiskImage.sectorBytes, contents.count)
            let isWritten = !fails || disk.scheduler.chance(0.5)
            if isWritten { disk.image.files[number]?.platter.replaceSubrange(range, with: contents[range]) }
            if disk.image.files[number]?.contents[range] == contents[range] {
                disk.image.files[number]?.dirtySectors.remove(sector)
            }
        }
        disk.noteDurable("sync \(path)")
        guard fails else { return }
        disk.count("sync failed")
        disk.scheduler.note("sync of \(path) fails")
        throw StorageError(.unavailable, "sync \(path): Input/output error")
    }
}

extension Scheduler {
    /// Lets time pass for the current task, whatever is cancelled.
    func pass(_ nanoseconds: UInt64) async {
        await withUnsafeContinuation { continuation in after(nanoseconds) { continuation.resume() } }
    }
}
