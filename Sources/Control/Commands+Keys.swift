public import Volumes

public struct ListKeys: Command {
    public static let name = "keys-list"
    public static let access = CommandAccess.reads
    public static let isLong = true
    /// Reads each object's header.
    public var counting: Bool
    public init(counting: Bool) { self.counting = counting }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> KeysReport {
        try await store.listKeys(counting: counting, progress: progress)
    }
}

public struct RotateKeys: Command {
    public static let name = "keys-rotate"
    public static let isLong = true
    /// Moves what is under older keys as well.
    public var rewrite: Bool
    public init(rewrite: Bool) { self.rewrite = rewrite }
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> RotationReport {
        try await store.rotateKeys(rewrite: rewrite, progress: progress)
    }
}

public struct RewriteKeys: Command {
    public static let name = "keys-rewrite"
    public static let isLong = true
    public init() {}
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> RewriteReport {
        try await store.rewriteKeys(progress: progress)
    }
}

public struct PrintWitness: Command {
    public static let name = "witness"
    public static let access = CommandAccess.reads
    public struct Output: Codable, Sendable {
        public var witness: String
    }
    public init() {}
    public func run(on store: any StoreCommands, progress: @escaping ProgressHandler) async throws -> Output {
        Output(witness: try await store.witness().text)
    }
}
