public import StoreCore

/// How long an object store takes, for simulations and measurements without one.
public struct LatencyProfile: Sendable {
    /// From a request to its answer's first byte.
    public var roundTrip: [RequestKind: Duration]
    /// Of one transfer, either way; nil: no limit.
    public var bytesPerSecond: UInt64?

    public init(roundTrip: [RequestKind: Duration], bytesPerSecond: UInt64? = nil) {
        self.roundTrip = roundTrip
        self.bytesPerSecond = bytesPerSecond
    }
    public init(everyRequest duration: Duration, bytesPerSecond: UInt64? = nil) {
        self.init(
            roundTrip: Dictionary(uniqueKeysWithValues: RequestKind.allCases.map { ($0, duration) }),
            bytesPerSecond: bytesPerSecond)
    }

    func delay(_ kind: RequestKind, byteCount: Int = 0) -> Duration {
        (roundTrip[kind] ?? .zero) + transfer(byteCount)
    }
    func transfer(_ byteCount: Int) -> Duration {
        guard let bytesPerSecond, bytesPerSecond > 0 else { return .zero }
        return .seconds(Double(byteCount) / Double(bytesPerSecond))
    }
}

/// Delays every request as the profile says, on the given clock. The wait comes before the effect, but for a read's
/// transfer; a task that is cancelled while it waits leaves no effect. Thread-safe.
public final class LatencyStore: ObjectStore {
    public var location: String { base.location }
    private let base: any ObjectStore
    private let profile: LatencyProfile
    private let time: any TimeSource

    public init(_ base: any ObjectStore, profile: LatencyProfile, time: any TimeSource) {
        self.base = base
        self.profile = profile
        self.time = time
    }

    public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        try await wait(profile.delay(range == nil ? .get : .rangedGet))
        let bytes = try await base.get(key, range: range)
        try await wait(profile.transfer(bytes.count))
        return bytes
    }
    public func head(_ key: ObjectKey) async throws -> ObjectInfo? {
        try await wait(profile.delay(.head))
        return try await base.head(key)
    }
    public func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        try await wait(profile.delay(.create, byteCount: bytes.count))
        return try await base.create(key, bytes, sha256: sha256)
    }
    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        try await wait(profile.delay(.list))
        return try await base.list(prefix: prefix, after: after, limit: limit)
    }
    public func delete(_ keys: [ObjectKey]) async throws {
        try await wait(profile.delay(.delete))
        try await base.delete(keys)
    }

    private func wait(_ duration: Duration) async throws {
        if duration > .zero { try await time.sleep(for: duration) }
    }
}
