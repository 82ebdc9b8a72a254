/// When to try again after `unavailable`: exponential backoff with full jitter (Brooker, "Exponential Backoff And
/// Jitter", AWS 2015), until a deadline.
public struct RetryPolicy: Sendable, Equatable {
    /// The most that the first delay can be; each further one can be twice as long as the one before.
    public var delayFirst: Duration
    /// The most that any delay can be.
    public var delayMax: Duration
    /// How long after the beginning of the first attempt the last one may begin; nil: no end.
    public var deadline: Duration?
    /// How many attempts there may be, the first included; nil: any number until the deadline.
    public var attemptsMax: Int?

    public init(
        delayFirst: Duration = .milliseconds(50), delayMax: Duration = .seconds(5), deadline: Duration? = .seconds(60),
        attemptsMax: Int? = nil
    ) {
        self.delayFirst = delayFirst
        self.delayMax = delayMax
        self.deadline = deadline
        self.attemptsMax = attemptsMax
    }

    /// How long to wait after `failures` failed attempts, `elapsed` after the first began; nil: give up.
    public func delay(
        failures: Int, elapsed: Duration, using random: inout some RandomNumberGenerator
    ) -> Duration? {
        if let attemptsMax, failures >= attemptsMax { return nil }
        let longest = min(delayMax, delayFirst * (1 << min(max(failures - 1, 0), 20)))
        let delay = longest * Double.random(in: 0...1, using: &random)
        if let deadline, elapsed + delay > deadline { return nil }
        return delay
    }
}
