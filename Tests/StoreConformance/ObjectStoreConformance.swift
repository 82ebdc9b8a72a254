public import ObjectStorage
import StoreCore

/// The one suite that every object store and every decorator passes.
///
///     @Test(arguments: ObjectStoreConformance.checks)
///     func s3KeepsTheContract(check: ConformanceCheck) async throws {
///         try await check.run(PrefixStore(s3, prefix: "test-\(UInt64.random(in: .min ... .max))"))
///     }
///
/// Each check wants a store that is empty when it begins, and throws `ConformanceFailure` where the contract is broken.
public enum ObjectStoreConformance {
    public static let checks: [ConformanceCheck] = creation + reading + listing + deletion

    /// All checks in turn, each on a store of its own.
    public static func run(makeStore: @Sendable () async throws -> any ObjectStore) async throws {
        for check in checks { try await check.run(makeStore()) }
    }
}

/// One promise of the contract.
public struct ConformanceCheck: Sendable, CustomStringConvertible {
    /// The promise.
    public let name: String
    public let run: @Sendable (any ObjectStore) async throws -> Void
    public var description: String { name }

    init(_ name: String, _ run: @escaping @Sendable (any ObjectStore) async throws -> Void) {
        self.name = name
        self.run = run
    }
}

/// What a store did instead.
public struct ConformanceFailure: Error, CustomStringConvertible {
    public let description: String
}

func require(_ condition: Bool, _ what: @autoclosure () -> String, line: UInt = #line) throws {
    guard condition else { throw ConformanceFailure(description: "\(what()) (line \(line))") }
}

func requireEqual<T: Equatable>(_ found: T, _ expected: T, _ what: String, line: UInt = #line) throws {
    guard found != expected else { return }
    func short(_ value: T) -> String { String(String(describing: value).prefix(200)) }
    throw ConformanceFailure(description: "\(what): expected \(short(expected)), found \(short(found)) (line \(line))")
}

/// The body must throw a `StorageError` of this code.
func requireThrows(
    _ code: ErrorCode, _ what: String, line: UInt = #line, _ body: () async throws -> Void
) async throws {
    do {
        try await body()
    } catch {
        return try require(error.storageCode == code && error is StorageError, "\(what): \(error)", line: line)
    }
    throw ConformanceFailure(description: "\(what): nothing was thrown, expected \(code.rawValue) (line \(line))")
}

/// Bytes that differ from seed to seed and from place to place.
func pattern(_ count: Int, seed: UInt64) -> [UInt8] {
    var random = SplitMix64(seed: seed)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count + 8)
    while bytes.count < count {
        withUnsafeBytes(of: random.next()) { bytes.append(contentsOf: $0) }
    }
    bytes.removeLast(bytes.count - count)
    return bytes
}

func keys(_ store: any ObjectStore, prefix: String = "") async throws -> [String] {
    var keys: [String] = []
    try await store.forEachObject(prefix: prefix) { keys.append($0.key.text) }
    return keys
}

func create(_ store: any ObjectStore, _ keys: some Sequence<String>) async throws {
    for key in keys {
        try requireEqual(try await store.create(ObjectKey(key), Array(key.utf8)), .created, "creation of \(key)")
    }
}
