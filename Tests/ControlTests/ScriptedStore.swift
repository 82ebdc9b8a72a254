import Cleaner
import Control
import StoreCore
import Synchronization
import Volumes

/// A store that answers what a test wants and remembers what it was asked.
final class ScriptedStore: StoreCommands {
    struct Script: Sendable {
        var calls: [String] = []
        var failure: StorageError?
    }
    let script = Mutex(Script())
    /// Lets a test hold a long command in its middle.
    let gate = Gate()

    var calls: [String] { script.withLock { $0.calls } }
    func fail(with error: StorageError) { script.withLock { $0.failure = error } }

    private func note(_ call: String) throws {
        try script.withLock { script in
            script.calls.append(call)
            if let failure = script.failure { throw failure }
        }
    }

    static func report(_ name: String, kind: String = "volume", parent: String? = nil) throws -> VolumeReport {
        let parent = parent.map { ",\"parent\":\"\($0)\"" } ?? ""
        let json = """
            {"name":"\(name)","kind":"\(kind)","id":"00ff","sizeBytes":1073741824,"created":"2026-01-02T03:04:05Z",
             "holds":[]\(parent)}
            """
        return try ControlJSON.decode(from: Array(json.utf8))
    }

    func create(_ name: String, sizeBytes: UInt64) async throws -> CreatedReport {
        try note("create \(name) \(sizeBytes)")
        return CreatedReport(name: name, id: "00ff", sizeBytes: sizeBytes)
    }
    func list() async throws -> [VolumeReport] {
        try note("list")
        return [try Self.report("pg-prod"), try Self.report("pg-prod@monday", kind: "snapshot", parent: "pg-prod")]
    }
    func info(_ reference: VolumeReference) async throws -> VolumeDetails {
        try note("info \(reference)")
        throw StorageError(.notFound, "there is no volume '\(reference)'")
    }
    func snapshot(_ volume: String, name: String?) async throws -> VolumeReport {
        try note("snapshot \(volume) \(name ?? "-")")
        return try Self.report("\(volume)@\(name ?? "now")", kind: "snapshot", parent: volume)
    }
    func branch(_ source: VolumeReference, to new: String) async throws -> VolumeReport {
        try note("branch \(source) \(new)")
        return try Self.report(new, kind: "branch", parent: "\(source)")
    }
    func branch(fromJournal id: String, to new: String) async throws -> VolumeReport {
        try note("branch from journal \(id) \(new)")
        return try Self.report(new, kind: "branch")
    }
    func journals() async throws -> [JournalReport] {
        try note("journals")
        return [Self.journal]
    }
    func dropJournal(_ id: String, force: Bool) async throws -> JournalReport {
        try note("drop journal \(id) \(force)")
        return Self.journal
    }
    func listKeys(counting: Bool, progress: @escaping ProgressHandler) async throws -> KeysReport { throw keyless }
    func rotateKeys(rewrite: Bool, progress: @escaping ProgressHandler) async throws -> RotationReport { throw keyless }
    func rewriteKeys(progress: @escaping ProgressHandler) async throws -> RewriteReport { throw keyless }
    func witness() async throws -> StoreWitness { throw keyless }
    func problems(since witness: StoreWitness) async throws -> [String: String] { throw keyless }
    func problems(of volume: String, belowEpoch epoch: UInt64) async throws -> [String: String] { throw keyless }
    private var keyless: StorageError { StorageError(.unsupported, "this store has no keys and no history") }
    func accept(_ name: String) async throws -> AcceptedReport {
        try note("accept \(name)")
        return AcceptedReport(name: name, wasLost: true, noticed: "2026-01-02T03:04:05Z", reason: "power")
    }
    static let journal = JournalReport(
        id: "00ff00ff00ff", volume: "pg-prod", volumeID: "00ff", epoch: 7, created: "2026-01-02T03:04:05Z",
        owner: nil, writes: 3, bytes: 4096, writesMissing: 2, bytesMissing: 4096, isComplete: true, diskBytes: 65536)
    func rename(_ old: VolumeReference, to new: String) async throws -> VolumeReport {
        try note("rename \(old) \(new)")
        return try Self.report(new)
    }
    func resize(_ name: String, to bytes: UInt64, force: Bool) async throws -> VolumeReport {
        try note("resize \(name) \(bytes) \(force)")
        return try Self.report(name)
    }
    func rollback(_ reference: VolumeReference, force: Bool) async throws -> RollbackReport {
        try note("rollback \(reference) \(force)")
        let json = "{\"name\":\"\(reference.volume)\",\"target\":\"\(reference)\",\"safetySnapshot\":\"x@y\"}"
        return try ControlJSON.decode(from: Array(json.utf8))
    }
    func delete(_ reference: VolumeReference, force: Bool) async throws -> DeletedReport {
        try note("delete \(reference) \(force)")
        return try ControlJSON.decode(from: Array("{\"names\":[\"\(reference)\"]}".utf8))
    }
    func hold(_ reference: VolumeReference, tag: String) async throws { try note("hold \(reference) \(tag)") }
    func release(_ reference: VolumeReference, tag: String) async throws { try note("release \(reference) \(tag)") }

    func collectGarbage(dryRun: Bool, progress: @escaping ProgressHandler) async throws -> GCReport {
        progress(ProgressReport(phase: "listing", done: 1))
        await gate.wait()
        progress(ProgressReport(phase: "deleting", done: 2, total: 2))
        try note("gc \(dryRun)")
        var report = GCReport(dryRun: dryRun)
        report.objectsExamined = 7
        return report
    }
    func verify(
        _ reference: VolumeReference?, deep: Bool, progress: @escaping ProgressHandler
    ) async throws -> VerifyReport {
        try note("verify \(reference.map { "\($0)" } ?? "-") \(deep)")
        throw StorageError(.corrupt, "object x is damaged")
    }
}

/// Closed until it is opened; then everybody passes.
final class Gate: Sendable {
    private struct State {
        var isOpen = true
        var waiters: [CheckedContinuation<Void, Never>] = []
    }
    private let state = Mutex(State())

    func close() { state.withLock { $0.isOpen = false } }
    func open() {
        let waiters = state.withLock { state in
            state.isOpen = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }
    func wait() async {
        await withCheckedContinuation { continuation in
            let isOpen = state.withLock { state in
                if !state.isOpen { state.waiters.append(continuation) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
    }
}
