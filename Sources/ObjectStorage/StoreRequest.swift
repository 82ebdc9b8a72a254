/// One request as the decorators for tests see it: before it reaches the store.
public struct StoreRequest: Sendable, Hashable {
    public var kind: RequestKind
    /// Counts the requests of one decorator from 0, in the order in which they came.
    public var number: Int
    /// What is read, created, looked for or deleted; empty for a list.
    public var keys: [ObjectKey]
    /// Of a ranged get.
    public var range: Range<UInt64>?
    /// Of a list.
    public var prefix: String?
    public var after: ObjectKey?
    public var limit: Int?
    /// What a creation sends.
    public var byteCount: Int

    init(
        _ kind: RequestKind, number: Int, keys: [ObjectKey] = [], range: Range<UInt64>? = nil, prefix: String? = nil,
        after: ObjectKey? = nil, limit: Int? = nil, byteCount: Int = 0
    ) {
        self.kind = kind
        self.number = number
        self.keys = keys
        self.range = range
        self.prefix = prefix
        self.after = after
        self.limit = limit
        self.byteCount = byteCount
    }

    /// The key of a request about one object.
    public var key: ObjectKey? { keys.first }
}
