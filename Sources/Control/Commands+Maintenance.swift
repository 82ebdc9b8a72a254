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
    public init(name: String?, deep: Bool) {
        self.name = name
        self.deep = deep
    }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> VerifyReport {
        let reference = try name.map { text throws(StorageError) in try VolumeReference(parsing: text) }
        return try await store.verify(reference, deep: deep, progress: progress)
    }
}

/// Every command, by the name under which the server has it.
enum CommandTable {
    static let all: [any Command.Type] = [
        CreateVolume.self, ListVolumes.self, DescribeVolume.self, RenameVolume.self, ResizeVolume.self,
        DeleteVolume.self, HoldVolume.self, ReleaseVolume.self, TakeSnapshot.self, MakeBranch.self, RollBack.self,
        CollectGarbage.self, VerifyStore.self,
    ]
    static func named(_ name: String) -> (any Command.Type)? { all.first { $0.name == name } }
}
