import StoreCore
public import Volumes

public struct CreateVolume: Command {
    public static let name = "create"
    public var name: String
    public var sizeBytes: UInt64
    public init(name: String, sizeBytes: UInt64) {
        self.name = name
        self.sizeBytes = sizeBytes
    }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> CreatedReport {
        try await store.create(try plainName(name), sizeBytes: sizeBytes)
    }
}

public struct ListVolumes: Command {
    public static let name = "list"
    public static let access = CommandAccess.reads
    public init() {}
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> [VolumeReport] {
        try await store.list()
    }
}

public struct DescribeVolume: Command {
    public static let name = "info"
    public static let access = CommandAccess.reads
    public var name: String
    public init(name: String) { self.name = name }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> VolumeDetails {
        try await store.info(try VolumeReference(parsing: name))
    }
}

public struct RenameVolume: Command {
    public static let name = "rename"
    public var name: String
    public var newName: String
    public init(name: String, newName: String) {
        self.name = name
        self.newName = newName
    }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> VolumeReport {
        try await store.rename(try VolumeReference(parsing: name), to: newName)
    }
}

public struct ResizeVolume: Command {
    public static let name = "resize"
    public var name: String
    public var sizeBytes: UInt64
    /// Allows shrinking.
    public var force: Bool
    public init(name: String, sizeBytes: UInt64, force: Bool) {
        self.name = name
        self.sizeBytes = sizeBytes
        self.force = force
    }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> VolumeReport {
        try await store.resize(try plainName(name), to: sizeBytes, force: force)
    }
}

public struct DeleteVolume: Command {
    public static let name = "delete"
    public var name: String
    /// Deletes a volume's snapshots with it.
    public var force: Bool
    public init(name: String, force: Bool) {
        self.name = name
        self.force = force
    }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> DeletedReport {
        try await store.delete(try VolumeReference(parsing: name), force: force)
    }
}

/// What was held or released.
public struct HoldReport: Codable, Sendable, Equatable {
    public var name: String
    public var tag: String
}

public struct HoldVolume: Command {
    public static let name = "hold"
    public var name: String
    public var tag: String
    public init(name: String, tag: String) {
        self.name = name
        self.tag = tag
    }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> HoldReport {
        try await store.hold(try VolumeReference(parsing: name), tag: tag)
        return HoldReport(name: name, tag: tag)
    }
}

public struct ReleaseVolume: Command {
    public static let name = "release"
    public var name: String
    public var tag: String
    public init(name: String, tag: String) {
        self.name = name
        self.tag = tag
    }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> HoldReport {
        try await store.release(try VolumeReference(parsing: name), tag: tag)
        return HoldReport(name: name, tag: tag)
    }
}

/// The name of a volume, not of a snapshot. Throws `invalid`.
func plainName(_ text: String) throws(StorageError) -> String {
    let reference = try VolumeReference(parsing: text)
    guard reference.snapshot == nil else {
        throw StorageError(.invalid, "'\(text)' names a snapshot: a volume's name has no '@'")
    }
    return reference.volume
}
