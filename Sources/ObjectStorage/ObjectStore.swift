public import StoreCore

/// An object's name in a store, relative to the store's prefix: segments of `[a-z0-9-]` joined by `/`. Stores take a
/// little more, and throw `invalid` for the rest (`isValid`).
public struct ObjectKey: Hashable, Comparable, Sendable, CustomStringConvertible, ExpressibleByStringLiteral {
    public let text: String
    public init(_ text: String) { self.text = text }
    public init(stringLiteral text: String) { self.text = text }
    /// Byte order, which is the order that LIST answers in.
    public static func < (a: Self, b: Self) -> Bool { a.text.utf8.lexicographicallyPrecedes(b.text.utf8) }
    public var description: String { text }
}

/// An object as LIST and HEAD tell of it.
public struct ObjectInfo: Hashable, Sendable {
    public var key: ObjectKey
    public var byteCount: UInt64
    /// When the store says that it was written; for people, never for decisions.
    public var modified: Timestamp
    public init(key: ObjectKey, byteCount: UInt64, modified: Timestamp) {
        self.key = key
        self.byteCount = byteCount
        self.modified = modified
    }
}

/// What became of a conditional creation.
public enum CreateOutcome: Hashable, Sendable {
    case created
    /// Another object holds the name and was left alone (412).
    case exists
}

/// The contract of an object store: all that zerofs asks of S3, of a directory and of memory.
///
/// - Objects are created once, read, listed and deleted; none is ever replaced (R5).
/// - Creation is atomic and exclusive: of any number of rivals at most one gets `.created`, and a reader sees no object
///   or the whole of it. When `.created` returns, the object is durable.
/// - Reads and lists are strong: they see everything that finished before they began.
/// - An error with code `unavailable` is ambiguous: the operation may have happened, or may happen later.
/// - Methods may be called from any task, many at once. Cancellation may abandon a read; it never abandons a creation
///   half done.
///
/// Errors are `StorageError`: `notFound` (get only), `unavailable` (may be tried again), `denied`, `full`, `invalid`,
/// `unsupported`. Passes `ObjectStoreConformance`.
public protocol ObjectStore: Sendable {
    /// For error texts: `s3://bucket/prefix` or `file:///dir`.
    var location: String { get }

    /// The object's bytes, or those of `range`, which is not empty and is cut to the object's end; a range wholly
    /// beyond it is `invalid`.
    func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8]
    /// nil where there is no such object.
    func head(_ key: ObjectKey) async throws -> ObjectInfo?
    /// Creates an object unless one of that name exists (`If-None-Match: *`).
    /// - Parameter sha256: of `bytes` if the caller has it already, so that the store can check the upload by it.
    func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome
    /// Objects whose key begins with `prefix` and is greater than `after`, in byte order, at most `limit` (1...1000).
    /// Fewer than there are may come, but at least one where more follow: `isTruncated` never goes with an empty page,
    /// from whose last object nobody could go on.
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage
    /// Deletes; a key that does not exist is no error. Throws if any deletion failed; deleting again is harmless.
    func delete(_ keys: [ObjectKey]) async throws
}

public struct ObjectPage: Hashable, Sendable {
    public var objects: [ObjectInfo]
    /// True when more may follow after the last one; then there is one.
    public var isTruncated: Bool
    public init(objects: [ObjectInfo], isTruncated: Bool) {
        self.objects = objects
        self.isTruncated = isTruncated
    }
}

extension ObjectStore {
    public func get(_ key: ObjectKey) async throws -> [UInt8] { try await get(key, range: nil) }
    public func create(_ key: ObjectKey, _ bytes: [UInt8]) async throws -> CreateOutcome {
        try await create(key, bytes, sha256: nil)
    }
    /// Every object under `prefix`, page by page, in order.
    public func forEachObject(prefix: String, _ body: (ObjectInfo) async throws -> Void) async throws {
        var after: ObjectKey?
        while true {
            let page = try await list(prefix: prefix, after: after, limit: 1000)
            for object in page.objects { try await body(object) }
            guard page.isTruncated, let last = page.objects.last else { return }
            after = last.key
        }
    }
}
