import StoreCore
import Synchronization
import Volumes

/// Shows on standard error how far a long command is: a bar that moves on a terminal, else a line every few seconds.
/// What takes less than a second shows nothing. Thread-safe.
final class ProgressDisplay: Sendable {
    private struct State {
        var latest: ProgressReport?
        var nextAt: ContinuousClock.Instant
        var isShown = false
        var isFinished = false
    }
    private let title: String
    private let isTerminal: Bool
    private let output: @Sendable (String) -> Void
    private let state: Mutex<State>

    init(
        _ title: String, isTerminal: Bool = Terminal.isErrorTerminal, after delay: Duration = .seconds(1),
        output: @escaping @Sendable (String) -> Void = { Terminal.writeError($0) }
    ) {
        self.title = title
        self.isTerminal = isTerminal
        self.output = output
        state = Mutex(State(nextAt: .now + delay))
    }

    func show(_ report: ProgressReport) {
        let now = ContinuousClock.now
        state.withLock { state in
            let isNewPhase = report.phase != state.latest?.phase && state.isShown
            state.latest = report
            guard !state.isFinished, now >= state.nextAt || isNewPhase else { return }
            state.nextAt = now + (isTerminal ? .milliseconds(100) : .seconds(5))
            state.isShown = true
            output(
                isTerminal
                    ? "\r\u{1b}[K" + ProgressBar.text(title, report, width: Terminal.width() - 1)
                    : "zerofs: \(ProgressBar.plain(title, report))\n")
        }
    }

    /// Takes the bar away, so that results stand alone.
    func finish() {
        state.withLock { state in
            if isTerminal, state.isShown, !state.isFinished { output("\r\u{1b}[K") }
            state.isFinished = true
        }
    }
}

enum ProgressBar {
    static func plain(_ title: String, _ report: ProgressReport) -> String {
        guard let total = report.total, total > 0 else { return "\(title): \(report.phase), \(report.done)" }
        return "\(title): \(report.phase), \(report.done) of \(total) (\(percent(report.done, total)) %)"
    }
    static func text(_ title: String, _ report: ProgressReport, width: Int) -> String {
        guard let total = report.total, total > 0 else { return String(plain(title, report).prefix(width)) }
        let head = "\(title): \(report.phase) "
        let tail = " \(percent(report.done, total)) %  \(report.done)/\(total)"
        let cells = min(40, width - head.count - tail.count - 2)
        guard cells >= 5 else { return String((head + tail).prefix(width)) }
        let filled = Int(percent(report.done, total)) * cells / 100
        return head + "[" + String(repeating: "=", count: filled) + String(repeating: " ", count: cells - filled) + "]"
            + tail
    }
    private static func percent(_ done: UInt64, _ total: UInt64) -> UInt64 {
        UInt64(min(1, Double(done) / Double(total)) * 100)
    }
}
