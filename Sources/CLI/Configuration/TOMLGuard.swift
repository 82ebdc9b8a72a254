/// A look at TOML before the parser sees it: a heading that begins with anything but a key ends its process by an
/// assertion (toml++ 2.x, `parse_key`), where a person wants to hear on which line it is.
enum TOMLGuard {
    /// The line, from 1, of the first heading that is none; nil where there is no such.
    static func brokenHeading(in text: String) -> Int? {
        let lines = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false)
        return lines.firstIndex { !isSound($0) }.map { $0 + 1 }
    }

    private static func isSound(_ line: Substring.UnicodeScalarView) -> Bool {
        // More than the parser passes over, so that nothing hides a bracket; behind it less.
        var rest = line.drop { $0.properties.isWhitespace || "\u{feff}\u{180e}\u{2060}".unicodeScalars.contains($0) }
        guard rest.popFirst() == "[" else { return true }
        if rest.first == "[" { rest = rest.dropFirst() }
        guard let first = rest.drop(while: { $0 == " " || $0 == "\t" }).first else { return false }
        switch first {
        case "a"..."z", "A"..."Z", "0"..."9", "_", "-", "\"", "'", "]": return true
        default: return false
        }
    }
}
