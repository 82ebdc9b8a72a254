import ObjectStorage
import StoreCore
import Synchronization

/// A store that calls a test's hook before each creation; what the hook throws is the creation's answer.
final class HookStore: ObjectStore {
    typealias Hook = @Sendable (ObjectKey) async throws -> Void
    private let base: any ObjectStore
    private let hook = Mutex<Hook?>(nil)

    init(_ base: any ObjectStore) { self.base = base }
    func beforeCreate(_ body: Hook?) { hook.withLock { $0 = body } }

    var location: String { base.location }
    func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] { try await base.get(key, range: range) }
    func head(_ key: ObjectKey) async throws -> ObjectInfo? { try await base.head(key) }
    func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        try await hook.withLock { $0 }?(key)
        return try await base.create(key, bytes, sha256: sha256)
    }
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        try await base.list(prefix: prefix, after: after, limit: limit)
    }
    func delete(_ keys: [ObjectKey]) async throws { try await base.delete(keys) }
}
