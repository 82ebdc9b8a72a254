public import Cleaner
public import StoreCore
public import Volumes

/// One command on a store. What it does is written once, in `run`: the server runs it for who asks over the control
/// socket, and the command line runs it on an engine of its own where no server is.
///
/// The properties are the JSON body of `POST /v1/<name>`, the output is its answer (docs/cli.md).
public protocol Command: Codable, Sendable {
    associatedtype Output: Codable & Sendable

    static var name: String { get }
    static var access: CommandAccess { get }
    /// Answers with a stream of progress, because it may take minutes.
    static var isLong: Bool { get }

    /// - Parameter progress: called from any thread, as often as it likes.
    func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> Output
}

extension Command {
    public static var access: CommandAccess { .changes }
    public static var isLong: Bool { false }
}

/// Whether two processes may run a command in one data directory at once.
public enum CommandAccess: Sendable {
    case reads
    case changes
}

/// What commands need of an engine.
public protocol StoreCommands: Sendable {
    func create(_ name: String, sizeBytes: UInt64) async throws -> CreatedReport
    func list() async throws -> [VolumeReport]
    func info(_ reference: VolumeReference) async throws -> VolumeDetails
    func snapshot(_ volume: String, name: String?) async throws -> VolumeReport
    func branch(_ source: VolumeReference, to new: String) async throws -> VolumeReport
    func branch(fromJournal id: String, to new: String) async throws -> VolumeReport
    func journals() async throws -> [JournalReport]
    func dropJournal(_ id: String, force: Bool) async throws -> JournalReport
    func accept(_ name: String) async throws -> AcceptedReport
    func rename(_ old: VolumeReference, to new: String) async throws -> VolumeReport
    func resize(_ name: String, to bytes: UInt64, force: Bool) async throws -> VolumeReport
    func rollback(_ reference: VolumeReference, force: Bool) async throws -> RollbackReport
    func delete(_ reference: VolumeReference, force: Bool) async throws -> DeletedReport
    func hold(_ reference: VolumeReference, tag: String) async throws
    func release(_ reference: VolumeReference, tag: String) async throws
    func collectGarbage(dryRun: Bool, progress: @escaping ProgressHandler) async throws -> GCReport
    func verify(_ reference: VolumeReference?, deep: Bool, progress: @escaping ProgressHandler) async throws
        -> VerifyReport
    func listKeys(counting: Bool, progress: @escaping ProgressHandler) async throws -> KeysReport
    func rotateKeys(rewrite: Bool, progress: @escaping ProgressHandler) async throws -> RotationReport
    func rewriteKeys(progress: @escaping ProgressHandler) async throws -> RewriteReport
    func witness() async throws -> StoreWitness
    /// Objects that are older than a witness has seen them, and how.
    func problems(since witness: StoreWitness) async throws -> [String: String]
    func problems(of volume: String, belowEpoch epoch: UInt64) async throws -> [String: String]
}

extension Engine: StoreCommands {}
