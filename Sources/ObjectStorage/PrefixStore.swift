public import StoreCore

/// A part of another store: every key stands below a prefix there. So one bucket holds many stores. Thread-safe.
public struct PrefixStore: ObjectStore {
    public var location: String { prefix.isEmpty ? base.location : "\(base.location)/\(prefix.dropLast())" }
    private let base: any ObjectStore
    /// Empty, or ends in `/`.
    private let prefix: String

    /// - Parameter prefix: `a/b`; slashes around it do not count; empty means all of `base`.
    public init(_ base: any ObjectStore, prefix: String) {
        self.base = base
        let trimmed = prefix.drop { $0 == "/" }.reversed().drop { $0 == "/" }.reversed()
        self.prefix = trimmed.isEmpty ? "" : String(trimmed) + "/"
    }

    public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        try await base.get(outer(key), range: range)
    }
    public func head(_ key: ObjectKey) async throws -> ObjectInfo? {
        try await base.head(outer(key)).map(inner)
    }
    public func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        try await base.create(outer(key), bytes, sha256: sha256)
    }
    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        let page = try await base.list(
            prefix: self.prefix + prefix, after: after.map { ObjectKey(self.prefix + $0.text) }, limit: limit)
        return ObjectPage(objects: try page.objects.map(inner), isTruncated: page.isTruncated)
    }
    public func delete(_ keys: [ObjectKey]) async throws {
        try await base.delete(try keys.map(outer))
    }

    /// The key itself is checked here: with a prefix before it, a bad one could pass.
    private func outer(_ key: ObjectKey) throws(StorageError) -> ObjectKey {
        try key.requireValid()
        return ObjectKey(prefix + key.text)
    }
    private func inner(_ object: ObjectInfo) throws(StorageError) -> ObjectInfo {
        guard object.key.text.utf8.starts(with: prefix.utf8) else {
            throw StorageError(
                .unsupported, "\(base.location) answers with object \(object.key), which is not below \(prefix)")
        }
        var object = object
        object.key = ObjectKey(String(object.key.text.dropFirst(prefix.count)))
        return object
    }
}
