import StoreCore

/// What the threads that use a journal share: files and how far each sequence has come. Pure; the journal acts on what
/// the methods return.
struct JournalState {
    /// A file with entries.
    struct Used {
        var file: JournalFile
        var last: WriteSequence
    }
    enum Chore {
        case remove(JournalFile)
        case prepare(UInt64)
    }

    /// Oldest first; the last one is being appended to.
    var used: [Used]
    /// Empty, for when the active file is full.
    var prepared: JournalFile?
    /// Released, to be removed from the disk, oldest first.
    var doomed: [JournalFile] = []
    var lastFileNumber: UInt64
    var wantsNext = false
    /// The last attempt failed: the next one waits until a writer needs the room, not for each append.
    var hasPreparationFailed = false
    var isMaintaining = false
    /// A removal failed: not tried again before the next release.
    var isRemovalStuck = false

    var appended = WriteSequence(0)
    var durable = WriteSequence(0)
    var released = WriteSequence(0)
    var entries: UInt64 = 0
    var lag = LagMarks()

    /// Files before this one are synced.
    var firstUnsyncedFile: UInt64
    var syncs = SyncQueue()
    var roomWaiters: [UInt64: CheckedContinuation<Void, any Error>] = [:]
    var lastWaiter: UInt64 = 0
    var idleWaiters: [CheckedContinuation<Void, Never>] = []

    /// Why nothing is acknowledged any more.
    var failure: StorageError?
    var isClosed = false

    init(first: JournalFile) {
        used = [Used(file: first, last: WriteSequence(0))]
        lastFileNumber = first.number
        firstUnsyncedFile = first.number
    }

    var fileCount: Int { used.count + doomed.count + (prepared == nil ? 0 : 1) }

    mutating func noteAppended(_ sequence: WriteSequence, _ time: Timestamp, bytes: Int) {
        appended = sequence
        used[used.count - 1].last = sequence
        entries += 1
        lag.append(sequence, time, bytes: bytes)
    }
    mutating func takePrepared() -> JournalFile? {
        guard let next = prepared else { return nil }
        prepared = nil
        used.append(Used(file: next, last: appended))
        return next
    }
    mutating func release(upTo sequence: WriteSequence) {
        guard sequence > released else { return }
        released = sequence
        lag.release(upTo: sequence, isAll: sequence >= appended)
        let count = used.dropLast().prefix { $0.last <= sequence }.count
        doomed += used.prefix(count).map(\.file)
        used.removeFirst(count)
        isRemovalStuck = false
    }
    mutating func takeRoomWaiters() -> [CheckedContinuation<Void, any Error>] {
        defer { roomWaiters = [:] }
        return Array(roomWaiters.values)
    }

    /// True when the caller must start the maintenance.
    mutating func startMaintenance(_ limits: JournalLimits) -> Bool {
        guard !isMaintaining, chore(limits) != nil else { return false }
        isMaintaining = true
        return true
    }
    /// Room is given back before more is taken.
    func chore(_ limits: JournalLimits) -> Chore? {
        if let first = doomed.first, !isRemovalStuck { return .remove(first) }
        let mayGrow = (fileCount + 1) * limits.fileBytes <= limits.bytesMax
        guard wantsNext, prepared == nil, mayGrow, failure == nil, !isClosed else { return nil }
        return .prepare(lastFileNumber + 1)
    }
}
