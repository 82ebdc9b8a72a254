/// Writes zerofs.toml: what was chosen stands, every other setting is a comment that shows its default.
enum ConfigurationText {
    private static let introductions: [String: String] = [
        "": "zerofs configuration. A setting behind # has the value shown; sizes are powers of 1024 (512M, 10G).",
        "store": "The object store.",
        "keys": "What opens the store: one of the two.",
        "data": "The data directory on this machine.",
        "cache": "Caches in memory.",
        "write": "The way of writes to the store.",
        "nbd": "Where NBD clients connect.",
        "tls": "Encryption and identity of NBD clients (NBD_OPT_STARTTLS).",
        "control": "Where `zerofs` commands reach the server.",
        "gc": "What garbage collection spares.",
    ]

    /// - Parameter uncommentsAll: writes settings with a value as if all had been chosen.
    static func write(_ configuration: ZerofsConfiguration, uncommentsAll: Bool = false) -> String {
        let defaults = ZerofsConfiguration()
        var text = ""
        var section: String?
        for setting in Setting.all {
            if setting.section != section {
                section = setting.section
                text += header(setting.section, isFirst: text.isEmpty)
            }
            text += "\n" + wrapped(setting.explanation)
            text += line(setting, configuration, defaults, uncommentsAll) + "\n"
        }
        return text + ExportSettings.write(configuration.exports)
    }

    private static func header(_ section: String, isFirst: Bool) -> String {
        let title = section.isEmpty ? "" : "[\(section)]\n"
        return (isFirst ? "" : "\n\n") + wrapped(introductions[section] ?? "") + title
    }

    private static func line(
        _ setting: Setting, _ configuration: ZerofsConfiguration, _ defaults: ZerofsConfiguration, _ uncommentsAll: Bool
    ) -> String {
        let value = setting.write(configuration)
        let isChosen = value != nil && (uncommentsAll || value != setting.write(defaults))
        return "\(isChosen ? "" : "# ")\(setting.key) = \(value ?? setting.example)"
    }

    /// Comment lines of at most 100 characters. Settings are told from them by their ` = `.
    private static func wrapped(_ sentence: String) -> String {
        var (lines, line) = ([String](), "#")
        for word in sentence.split(separator: " ") {
            if line.count + word.count + 1 > 100 {
                lines.append(line)
                line = "#"
            }
            line += " \(word)"
        }
        return (lines + [line]).map { $0 + "\n" }.joined()
    }
}
