/// What a store was asked for, and how it went. A value: two of them subtract to what happened between.
public struct RequestCounts: Codable, Hashable, Sendable {
    public var get: UInt64 = 0
    public var rangedGet: UInt64 = 0
    public var head: UInt64 = 0
    public var create: UInt64 = 0
    public var list: UInt64 = 0
    /// As S3 sends them: one for every 1000 keys begun.
    public var delete: UInt64 = 0

    /// Requests that threw, but for `notFound` and `cancelled`, which are answers.
    public var errors: UInt64 = 0
    /// Failures that were tried again.
    public var retries: UInt64 = 0
    /// Creations that met another object.
    public var conflicts: UInt64 = 0
    public var objectsDeleted: UInt64 = 0
    /// Bytes of objects that came back.
    public var bytesRead: UInt64 = 0
    /// Bytes of objects that were sent, once for each attempt.
    public var bytesWritten: UInt64 = 0

    public init() {}

    /// Requests of all kinds.
    public var total: UInt64 { RequestKind.allCases.reduce(0) { $0 + self[$1] } }

    public subscript(kind: RequestKind) -> UInt64 {
        get { self[keyPath: Self.field(kind)] }
        set { self[keyPath: Self.field(kind)] = newValue }
    }

    /// What was counted since `earlier`, an older value of the same counter.
    public static func - (now: Self, earlier: Self) -> Self {
        var difference = now
        for field in fields { difference[keyPath: field] -= earlier[keyPath: field] }
        return difference
    }
    public static func + (a: Self, b: Self) -> Self {
        var sum = a
        for field in fields { sum[keyPath: field] += b[keyPath: field] }
        return sum
    }

    private static func field(_ kind: RequestKind) -> WritableKeyPath<Self, UInt64> {
        switch kind {
        case .get: \.get
        case .rangedGet: \.rangedGet
        case .head: \.head
        case .create: \.create
        case .list: \.list
        case .delete: \.delete
        }
    }
    private static var fields: [WritableKeyPath<Self, UInt64>] {
        RequestKind.allCases.map(field)
            + [\.errors, \.retries, \.conflicts, \.objectsDeleted, \.bytesRead, \.bytesWritten]
    }
}
