#if canImport(Glibc)
    import Glibc
#endif

/// Wall-clock time: nanoseconds since 1970 UTC. Never decides correctness; it is kept for people and retention.
public struct Timestamp: Hashable, Comparable, Sendable {
    public var nanoseconds: Int64
    public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }
    public static func < (a: Self, b: Self) -> Bool { a.nanoseconds < b.nanoseconds }
    public var seconds: Double { Double(nanoseconds) / 1e9 }
    public func adding(_ duration: Duration) -> Self {
        let (seconds, attoseconds) = duration.components
        return Self(nanoseconds: nanoseconds + seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}

/// The clock that everything waits on and stamps with, so that a simulation can hold its own.
public protocol TimeSource: Sendable {
    func now() -> Timestamp
    /// Nanoseconds of a clock that never steps back, and stands while the machine is suspended, as its connections do;
    /// only differences mean something.
    func monotonicNanoseconds() -> UInt64
    /// The same, but it goes on while the machine is suspended.
    func bootNanoseconds() -> UInt64
    /// Throws `CancellationError` when the task is cancelled meanwhile.
    func sleep(for duration: Duration) async throws
}

extension TimeSource {
    /// A clock that is never suspended has but one.
    public func bootNanoseconds() -> UInt64 { monotonicNanoseconds() }
}

/// The machine's clock.
public struct SystemTime: TimeSource {
    public init() {}
    public func now() -> Timestamp {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Timestamp(nanoseconds: Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec))
    }
    public func monotonicNanoseconds() -> UInt64 { Self.nanoseconds(of: CLOCK_MONOTONIC) }
    public func bootNanoseconds() -> UInt64 { Self.nanoseconds(of: CLOCK_BOOTTIME) }
    private static func nanoseconds(of clock: clockid_t) -> UInt64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
    public func sleep(for duration: Duration) async throws { try await Task.sleep(for: duration) }
}
