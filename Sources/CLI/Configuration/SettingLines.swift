/// On which line each setting of a file stands, since the parser keeps no lines for values.
///
/// It finds `key = ` or `[key]` under the right heading, and nothing for forms that it does not know. Made in one pass,
/// so that a file of a million lines is refused as quickly as it is read.
struct SettingLines {
    private var headings: [String: Int] = [:]
    private var settings: [String: Int] = [:]

    init(_ text: String) {
        var heading = ""
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let content = line.drop { $0 == " " || $0 == "\t" }
            if content.hasPrefix("[") {
                heading = content.dropFirst().prefix { $0 != "]" }.filter { $0 != " " && $0 != "\"" }
                Self.note(heading, index + 1, in: &headings)
            } else if let equals = content.firstIndex(of: "="), !content.hasPrefix("#") {
                let left = content[..<equals].filter { $0 != " " && $0 != "\t" && $0 != "\"" }
                Self.note(heading.isEmpty ? left : "\(heading).\(left)", index + 1, in: &settings)
            }
        }
    }

    /// From 1; `.max` where it is not found.
    subscript(key: String, section: String) -> Int {
        guard section.isEmpty else { return settings["\(section).\(key)"] ?? .max }
        return min(headings[key] ?? .max, settings[key] ?? .max)
    }

    /// The first line counts, for a dotted name as for the tables that it lies in.
    private static func note(_ name: String, _ line: Int, in lines: inout [String: Int]) {
        let parts = name.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
        for known in Set([name] + (1...parts.count).prefix(2).map { parts.prefix($0).joined(separator: ".") }) {
            lines[known] = min(lines[known] ?? .max, line)
        }
    }
}
