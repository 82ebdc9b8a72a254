public import Cleaner
import StoreCore
public import Volumes

public struct CollectGarbage: Command {
    public static let name = "gc"
    public static let isLong = true
    public var dryRun: Bool
    public init(dryRun: Bool) { self.dryRun = dryRun }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> GCReport {
        try await store.collectGarbage(dryRun: dryRun, progress: progress)
    }
}

public struct VerifyStore: Command {
    public static let name = "verify"
    public static let access = CommandAccess.reads
    public static let isLong = true
    /// A volume or snapshot; nil: all.
    public var name: String?
    /// Reads all data.
    public var deep: Bool
    /// What `witness` printed: the store must not be older.
    public var witness: String?
    /// The volume's epoch must not be lower.
    public var atLeast: UInt64?
    public init(name: String?, deep: Bool, witness: String? = nil, atLeast: UInt64? = nil) {
        self.name = name
        self.deep = deep
        self.witness = witness
        self.atLeast = atLeast
    }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> VerifyReport {
        let reference = try name.map { text throws(StorageError) in try VolumeReference(parsing: text) }
        var problems: [String: String] = [:]
        if let witness {
            problems = try await store.problems(since: try StoreWitness(parsing: witness))
        }
        if let atLeast {
            guard let reference, reference.snapshot == nil else {
                throw StorageError(.invalid, "--at-least wants the volume whose epoch it means")
            }
            problems.merge(try await store.problems(of: reference.volume, belowEpoch: atLeast)) { first, _ in first }
        }
        var report = try await store.verify(reference, deep: deep, progress: progress)
        let known = Set(report.damaged.map(\.object))
        for (object, problem) in problems.sorted(by: { $0.key < $1.key }) where !known.contains(object) {
            report.damaged.append(VerifyReport.Damage(object: object, problem: problem))
        }
        return report
    }
}

/// Every command, by the name under which the server has it.
enum CommandTable {
    static let all: [any Command.Type] = [
        CreateVolume.self, ListVolumes.self, DescribeVolume.self, RenameVolume.self, ResizeVolume.self,
        DeleteVolume.self, HoldVolume.self, ReleaseVolume.self, TakeSnapshot.self, MakeBranch.self, RollBack.self,
        CollectGarbage.self, VerifyStore.self, AcceptLoss.self, ListJournals.self, BranchFromJournal.self,
        DropJournal.self, ListKeys.self, RotateKeys.self, RewriteKeys.self, PrintWitness.self,
    ]
    static func named(_ name: String) -> (any Command.Type)? { all.first { $0.name == name } }
}
