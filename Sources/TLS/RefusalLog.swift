public import Logging
public import StoreCore
import Synchronization

/// Lines about clients that were turned away: at most so many in a while, because anyone who reaches the address can
/// cause them. What was left out is counted, and told with the next.
public final class RefusalLog: Sendable {
    private static let linesMax = 20
    private static let windowNanoseconds: UInt64 = 10_000_000_000

    private let log: Logger
    private let time: any TimeSource
    private struct State {
        var windowBegan: UInt64 = 0
        var lines = 0
        var omitted = 0
    }
    private let state = Mutex(State())

    public init(_ log: Logger, _ time: any TimeSource = SystemTime()) {
        self.log = log
        self.time = time
    }

    public func note(_ text: String) {
        let now = time.monotonicNanoseconds()
        let omitted: Int? = state.withLock { state in
            if now &- state.windowBegan > Self.windowNanoseconds {
                state.windowBegan = now
                state.lines = 0
            }
            guard state.lines < Self.linesMax else {
                state.omitted += 1
                return nil
            }
            state.lines += 1
            defer { state.omitted = 0 }
            return state.omitted
        }
        guard let omitted else { return }
        log.warning("\(text)\(omitted > 0 ? " (and \(omitted) more refusals before)" : "")")
    }
}
