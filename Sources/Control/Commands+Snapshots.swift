import StoreCore
public import Volumes

public struct TakeSnapshot: Command {
    public static let name = "snapshot"
    public var volume: String
    /// nil: called by the time in UTC.
    public var snapshot: String?
    public init(volume: String, snapshot: String?) {
        self.volume = volume
        self.snapshot = snapshot
    }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> VolumeReport {
        try await store.snapshot(try plainName(volume), name: snapshot)
    }
}

public struct MakeBranch: Command {
    public static let name = "branch"
    /// A volume, whose state now is taken, or a snapshot.
    public var source: String
    public var newName: String
    public init(source: String, newName: String) {
        self.source = source
        self.newName = newName
    }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> VolumeReport {
        try await store.branch(try VolumeReference(parsing: source), to: newName)
    }
}

public struct RollBack: Command {
    public static let name = "rollback"
    /// `VOLUME@SNAP`.
    public var snapshot: String
    public var force: Bool
    public init(snapshot: String, force: Bool) {
        self.snapshot = snapshot
        self.force = force
    }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> RollbackReport {
        let reference = try VolumeReference(parsing: snapshot)
        guard reference.snapshot != nil else {
            throw StorageError(.invalid, "'\(snapshot)' names no snapshot: write VOLUME@SNAPSHOT")
        }
        return try await store.rollback(reference, force: force)
    }
}
