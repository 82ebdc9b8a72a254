import Codec
import Journal
import StoreCore
import Testing

/// A journal on some disk, what was appended to it, and its replay.
final class Fixture: @unchecked Sendable {
    let disk: any LocalDisk
    let directory: String
    let keys: KeyRing
    let volume = VolumeID(0xabc)
    let time = TestTime()
    let limits: JournalLimits
    var entries: [JournalEntry] = []

    init(
        _ disk: any LocalDisk = MemoryDisk(), directory: String = "/data/journal", keys: KeyRing = .generate(),
        fileBytes: Int = 64 << 10, files: Int = 8
    ) {
        self.keys = keys
        self.disk = disk
        self.directory = directory
        limits = JournalLimits(fileBytes: fileBytes, bytesMax: files * fileBytes)
    }
    var memory: MemoryDisk { disk as! MemoryDisk }

    func open(_ token: UInt128 = 1) async throws -> Journal {
        try await Journal.create(
            directory: directory, volume: volume, token: OwnerToken(token), epoch: Epoch(9), keys: keys, limits: limits,
            disk: disk, time: time)
    }
    static func pattern(_ seed: UInt64, blocks: Int) -> [UInt8] {
        var generator = SplitMix64(seed: seed)
        return (0..<blocks * blockBytes).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }

    /// Appends, waiting for room as a writer does.
    func append(_ journal: Journal, _ sequence: UInt64, _ operation: JournalOperation) async throws {
        while try !appendNow(journal, sequence, operation) {
            let bytes = if case .write(_, let bytes) = operation { bytes.count } else { 0 }
            try await journal.makeRoom(bytes: bytes + 64)
        }
    }
    func appendNow(_ journal: Journal, _ sequence: UInt64, _ operation: JournalOperation) throws -> Bool {
        let isDone: Bool
        switch operation {
        case .write(let range, let bytes):
            isDone = try bytes.withUnsafeBytes { try journal.appendNow(WriteSequence(sequence), .write(range, $0)) }
        case .zero(let range): isDone = try journal.appendNow(WriteSequence(sequence), .zero(range))
        case .resize(let bytes): isDone = try journal.appendNow(WriteSequence(sequence), .resize(bytes))
        }
        if isDone {
            entries.append(JournalEntry(sequence: WriteSequence(sequence), time: time.now(), operation: operation))
        }
        return isDone
    }
    func write(_ journal: Journal, _ sequence: UInt64, blocks: Int = 1) async throws {
        try await append(
            journal, sequence,
            .write(
                BlockRange(first: BlockIndex(sequence * 10), count: UInt64(blocks)),
                Self.pattern(sequence, blocks: blocks)))
    }

    func generations() async throws -> [JournalGeneration] {
        try await Journal.generations(directory: directory, volume: volume, disk: disk)
    }
    func replay(_ generation: JournalGeneration? = nil) async throws -> ([JournalEntry], JournalReplaySummary) {
        let last = try await generations().last
        var found: [JournalEntry] = []
        let summary = try await Journal.replay(try #require(generation ?? last), keys: keys, disk: disk) {
            found.append($0)
        }
        return (found, summary)
    }
    /// Waits for what the journal does in the background.
    func eventually(_ condition: () async throws -> Bool) async throws {
        for _ in 0..<2000 {
            if try await condition() { return }
            try await Task.sleep(for: .milliseconds(2))
        }
        Issue.record("the condition did not come true")
    }
}
