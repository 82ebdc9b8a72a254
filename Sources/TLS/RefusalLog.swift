public import Logging
public import StoreCore
import Synchronization

/// Lines about clients that were turned away: at most so many in a while, because anyone who reaches the address can
/// cause them. What was left out is counted, and told with the next.
public final class RefusalLog: Sendable {
    private static let linesMax = 20
    private static let charactersMax = 400
    private static let windowNanoseconds: UInt64 = 10_000_000_000

    private let log: Logger
    private let code: EventCode
    private let time: any TimeSource
    private struct State {
        var windowBegan: UInt64 = 0
        var lines = 0
        var omitted = 0
    }
    private let state = Mutex(State())

    /// - Parameter code: of every line.
    public init(_ code: EventCode, _ log: Logger, time: any TimeSource = SystemTime()) {
        self.code = code
        self.log = log
        self.time = time
    }

    /// - Parameter text: may hold what a client made up: it stays one line of bounded length.
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
        let more = omitted > 0 ? " (and \(omitted) more before)" : ""
        log.warning("\(Self.printable(text))\(more)", metadata: ["event": "\(code.rawValue)"])
    }

    /// Without what would begin a new line, or change how a terminal shows it.
    static func printable(_ text: String) -> String {
        let scalars = text.unicodeScalars.prefix(charactersMax).map { scalar -> Unicode.Scalar in
            switch scalar.properties.generalCategory {
            case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .surrogate, .unassigned: "?"
            default: scalar
            }
        }
        return String(String.UnicodeScalarView(scalars))
    }
}
