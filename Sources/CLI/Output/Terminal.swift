import Glibc

/// What is known of standard output and standard error. Colour only on a terminal, and never with NO_COLOR.
enum Terminal {
    static let isOutputTerminal = isatty(STDOUT_FILENO) == 1
    static let isErrorTerminal = isatty(STDERR_FILENO) == 1
    private static let allowsColour = environment("NO_COLOR") == nil && environment("TERM") != "dumb"

    static func width() -> Int {
        var size = winsize()
        let isKnown = ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
        return isKnown ? Int(size.ws_col) : 80
    }

    static func printError(_ message: String) {
        let line = message.split(whereSeparator: \.isNewline).joined(separator: " ")
        writeError("\(styled("zerofs:", .red, isTerminal: isErrorTerminal)) \(line)\n")
    }
    /// Something that a person should know, apart from the result.
    static func printNote(_ message: String) { writeError("zerofs: \(message)\n") }

    /// Standard error has no buffer. Where it cannot be written to, there is nobody to tell.
    static func writeError(_ text: String) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }
    /// All streams.
    static func flushOutput() { fflush(nil) }

    enum Style: String {
        case red = "1;31"
        case bold = "1"
    }
    static func styled(_ text: String, _ style: Style, isTerminal: Bool = isOutputTerminal) -> String {
        isTerminal && allowsColour ? "\u{1b}[\(style.rawValue)m\(text)\u{1b}[0m" : text
    }
}
