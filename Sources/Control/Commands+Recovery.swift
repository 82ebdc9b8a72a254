import StoreCore
public import Volumes

public struct AcceptLoss: Command {
    public static let name = "accept"
    public var name: String
    public init(name: String) { self.name = name }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> AcceptedReport {
        try await store.accept(try plainName(name))
    }
}

public struct ListJournals: Command {
    public static let name = "journals"
    public static let access = CommandAccess.reads
    public init() {}
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> [JournalReport] {
        try await store.journals()
    }
}

public struct BranchFromJournal: Command {
    public static let name = "branch-from-journal"
    /// A journal's id, or the beginning of it.
    public var journal: String
    public var newName: String
    public init(journal: String, newName: String) {
        self.journal = journal
        self.newName = newName
    }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> VolumeReport {
        try await store.branch(fromJournal: journal, to: try plainName(newName))
    }
}

public struct DropJournal: Command {
    public static let name = "drop-journal"
    public var journal: String
    public var force: Bool
    public init(journal: String, force: Bool) {
        self.journal = journal
        self.force = force
    }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> JournalReport {
        try await store.dropJournal(journal, force: force)
    }
}
