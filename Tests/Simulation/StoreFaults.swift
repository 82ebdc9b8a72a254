import StoreCore

/// How often a store misbehaves: each a probability of one request.
public struct StoreFaults: Sendable {
    /// 500 or 503, and nothing happened.
    public var failsBefore = 0.0
    /// 500, 503 or a cut connection, and it happened.
    public var failsAfter = 0.0
    /// No answer; it happens up to minutes later.
    public var happensLate = 0.0
    /// No answer, and it never happens.
    public var getsLost = 0.0
    /// 409 where the condition of a creation fails, or for no reason.
    public var conflicts = 0.0
    /// The connection is cut in the middle of what is read or sent.
    public var cutsBody = 0.0
    /// A read answers with fewer bytes, and calls it a success.
    public var shortensBody = 0.0
    /// A read answers with a flipped bit.
    public var corruptsBody = 0.0
    /// A request takes up to half a minute.
    public var isSlow = 0.0
    /// A LIST shows some keys as they were before others.
    public var tearsLists = 0.0
    /// Objects in a page of a LIST, at most.
    public var listPageMax = 1000
    /// Virtual nanoseconds between sending and effect, and between effect and answer, at most.
    public var latencyMax: UInt64 = 20_000_000
    public init() {}

    /// Faults of every kind that a store may have without breaking its contract, at this rate each.
    public static func all(_ rate: Double) -> StoreFaults {
        var faults = StoreFaults()
        faults.failsBefore = rate
        faults.failsAfter = rate
        faults.happensLate = rate / 2
        faults.getsLost = rate / 2
        faults.conflicts = rate
        faults.cutsBody = rate
        faults.isSlow = rate / 2
        return faults
    }

    func draw(_ scheduler: Scheduler, isRead: Bool, isCreation: Bool) -> StoreFault? {
        if scheduler.chance(failsBefore) { return .failsBefore }
        if scheduler.chance(failsAfter) { return .failsAfter }
        if !isRead, scheduler.chance(happensLate) { return .happensLate(scheduler.delay(1_000_000, 300_000_000_000)) }
        if scheduler.chance(getsLost) { return .getsLost }
        if isCreation, scheduler.chance(conflicts) { return .conflicts }
        if scheduler.chance(cutsBody) { return .cutsBody }
        if isRead, scheduler.chance(shortensBody) { return .shortensBody }
        if isRead, scheduler.chance(corruptsBody) { return .corruptsBody }
        return nil
    }
}

/// What goes wrong with one request.
public enum StoreFault: Sendable, Equatable {
    case failsBefore
    case failsAfter
    /// Effect this long after the requester was told that there is no answer.
    case happensLate(UInt64)
    case getsLost
    case conflicts
    case cutsBody
    case shortensBody
    case corruptsBody
    /// Sent, and held until the scenario lets it go: `SimulatedBucket.release`.
    case held(String)

    var name: String {
        switch self {
        case .failsBefore: "failed before the effect"
        case .failsAfter: "failed after the effect"
        case .happensLate: "timed out, happened late"
        case .getsLost: "timed out, never happened"
        case .conflicts: "409"
        case .cutsBody: "connection cut"
        case .shortensBody: "body cut short"
        case .corruptsBody: "body corrupted"
        case .held: "held"
        }
    }
}
