import Foundation
import StoreCore
import Synchronization

/// A disk in memory that counts and fails on request. `crashed` is what a restarted host would find.
final class MemoryDisk: LocalDisk {
    struct State {
        var files: [String: MemoryFile] = [:]
        var directories: Set<String> = []
        var boot: UInt128 = 7
        var syncs = 0
        var failsSync = false
        var failsCreate: StorageError?
        var syncDelay: Duration?
    }
    let state = Mutex(State())

    func bootID() async throws -> UInt128 { state.withLock { $0.boot } }
    func makeDirectory(_ path: String, isNew: Bool) async throws {
        let isThere = state.withLock { !$0.directories.insert(path).inserted }
        if isThere, isNew { throw StorageError(.alreadyExists, path) }
    }
    func create(_ path: String, zeroFilled byteCount: Int) async throws -> any LocalFile {
        if let failure = state.withLock({ $0.failsCreate }) { throw failure }
        let file = MemoryFile([UInt8](repeating: 0, count: byteCount), self)
        let isThere = state.withLock { state in
            if state.files[path] != nil { return true }
            state.files[path] = file
            return false
        }
        if isThere { throw StorageError(.alreadyExists, path) }
        return file
    }
    func createScratch(_ path: String) async throws -> any LocalFile {
        let file = MemoryFile([], self)
        state.withLock { $0.files[path] = file }
        return file
    }
    func open(_ path: String) async throws -> any LocalFile {
        guard let file = state.withLock({ $0.files[path] }) else { throw StorageError(.notFound, path) }
        return file
    }
    func put(_ path: String, _ bytes: [UInt8]) async throws {
        state.withLock { $0.files[path] = MemoryFile(bytes, self) }
    }
    func read(_ path: String) async throws -> [UInt8] {
        guard let file = state.withLock({ $0.files[path] }) else { throw StorageError(.notFound, path) }
        return file.bytes
    }
    func list(_ directory: String) async throws -> [String] {
        state.withLock { state in
            let paths = Array(state.files.keys) + state.directories
            let names = paths.filter { $0.hasPrefix(directory + "/") }
                .map { String($0.dropFirst(directory.count + 1).prefix { $0 != "/" }) }
            return Set(names).sorted()
        }
    }
    func remove(_ path: String) async throws { state.withLock { _ = $0.files.removeValue(forKey: path) } }
    func removeDirectory(_ path: String) async throws { state.withLock { _ = $0.directories.remove(path) } }
    func syncDirectory(_ path: String) async throws {}

    var files: [MemoryFile] { state.withLock { Array($0.files.values) } }
    var fileNames: [String] { state.withLock { $0.files.keys.sorted() } }
    func bytes(_ path: String) -> [UInt8] { state.withLock { $0.files[path]!.bytes } }
    func set(_ path: String, _ bytes: [UInt8]) { state.withLock { $0.files[path] = MemoryFile(bytes, self) } }

    /// What a restarted host finds: of what was not synced, any sectors of 512 bytes and no others.
    func crashed(seed: UInt64) -> MemoryDisk {
        var random = SplitMix64(seed: seed)
        let other = MemoryDisk()
        let keeps = Double.random(in: 0...1, using: &random)
        state.withLock { mine in
            other.state.withLock { state in
                state.directories = mine.directories
                state.boot = mine.boot + 1
                for (path, file) in mine.files.sorted(by: { $0.key < $1.key }) {
                    var bytes = file.syncedBytes
                    for (start, new) in file.changedSectors where Double.random(in: 0..<1, using: &random) < keeps {
                        bytes.replaceSubrange(start..<start + new.count, with: new)
                    }
                    state.files[path] = MemoryFile(bytes, other)
                }
            }
        }
        return other
    }

    fileprivate func sync() async throws {
        let (fails, delay) = state.withLock { state in
            state.syncs += 1
            return (state.failsSync, state.syncDelay)
        }
        if let delay { try await Task.sleep(for: delay) }
        if fails { throw StorageError(.unavailable, "cannot sync: Input/output error") }
    }
}

final class MemoryFile: LocalFile {
    private let contents: Mutex<[UInt8]>
    private let synced: Mutex<[UInt8]>
    /// Pages that the kernel would write; after a sync that failed it counts them as written.
    private let dirty = Mutex<Set<Int>>([])
    private static let pageBytes = 4096
    private unowned let disk: MemoryDisk
    let byteCount: Int

    init(_ bytes: [UInt8], _ disk: MemoryDisk) {
        contents = Mutex(bytes)
        synced = Mutex(bytes)
        byteCount = bytes.count
        self.disk = disk
    }
    var bytes: [UInt8] { contents.withLock { $0 } }
    var syncedBytes: [UInt8] { synced.withLock { $0 } }
    /// The page cache gives up what counts as written: what is on the disk comes back.
    func evict() {
        let onDisk = syncedBytes
        let kept = dirty.withLock { $0 }
        contents.withLock { contents in
            for start in stride(from: 0, to: onDisk.count, by: Self.pageBytes)
            where !kept.contains(start / Self.pageBytes) {
                let range = start..<min(start + Self.pageBytes, onDisk.count)
                contents.replaceSubrange(range, with: onDisk[range])
            }
        }
    }
    var changedSectors: [(Int, [UInt8])] {
        let (now, before) = (bytes, syncedBytes)
        return stride(from: 0, to: now.count, by: 512).compactMap { start in
            let end = min(start + 512, now.count)
            return now[start..<end] == before[start..<end] ? nil : (start, Array(now[start..<end]))
        }
    }
    func store(at position: Int, count: Int, _ fill: (UnsafeMutableRawBufferPointer) throws -> Void) throws {
        var part = [UInt8](repeating: 0, count: count)
        try part.withUnsafeMutableBytes(fill)
        contents.withLock { $0.replaceSubrange(position..<position + count, with: part) }
        makeDirty(position..<position + count)
    }
    private func makeDirty(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        dirty.withLock { $0.formUnion(range.lowerBound / Self.pageBytes...(range.upperBound - 1) / Self.pageBytes) }
    }
    func write(_ bytes: [UInt8], at position: Int) async throws {
        contents.withLock { contents in
            if contents.count < position + bytes.count {
                contents += [UInt8](repeating: 0, count: position + bytes.count - contents.count)
            }
            contents.replaceSubrange(position..<position + bytes.count, with: bytes)
        }
        makeDirty(position..<position + bytes.count)
    }
    func read(at position: Int, count: Int) async throws -> [UInt8] {
        contents.withLock { Array($0.dropFirst(position).prefix(count)) }
    }
    func sync() async throws {
        let taken = bytes
        let pages = dirty.withLock { pages in
            defer { pages = [] }
            return pages
        }
        try await disk.sync()
        synced.withLock { synced in
            synced += [UInt8](repeating: 0, count: max(taken.count - synced.count, 0))
            for page in pages {
                let range = page * Self.pageBytes..<min((page + 1) * Self.pageBytes, taken.count)
                synced.replaceSubrange(range, with: taken[range])
            }
        }
    }
}

/// A clock that stands still unless told.
final class TestTime: TimeSource {
    let time = Mutex<Int64>(1_000)
    func now() -> Timestamp { Timestamp(nanoseconds: time.withLock { $0 }) }
    func monotonicNanoseconds() -> UInt64 { UInt64(time.withLock { $0 }) }
    func sleep(for duration: Duration) async throws {}
}
