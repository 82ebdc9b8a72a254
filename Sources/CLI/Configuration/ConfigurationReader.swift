import NBD
import StoreCore
import TOMLKit

/// Reads zerofs.toml. Whatever it does not know stops it, with the line and the nearest name that it knows: a setting
/// that silently does nothing is worse than none.
struct ConfigurationReader {
    /// For messages.
    let path: String
    private let lines: [Substring]
    private let text: String

    static func read(_ text: String, path: String) throws(StorageError) -> ZerofsConfiguration {
        try ConfigurationReader(text, path: path).configuration()
    }

    private init(_ text: String, path: String) {
        self.path = path
        self.text = text
        lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    }

    private func configuration() throws(StorageError) -> ZerofsConfiguration {
        let table = try parse()
        var configuration = ZerofsConfiguration()
        try read(table, section: "", into: &configuration)
        try requireComplete(configuration)
        return configuration
    }

    private func parse() throws(StorageError) -> TOMLTable {
        do { return try TOMLTable(string: text) } catch let error as TOMLParseError {
            throw StorageError(.invalid, "\(path):\(error.source.begin.line): \(error.description)")
        } catch { throw StorageError(.invalid, "\(path) is not TOML", cause: error) }
    }

    private func read(
        _ table: TOMLTable, section: String, into configuration: inout ZerofsConfiguration
    ) throws(StorageError) {
        for key in table.keys.sorted(by: { line(of: $0, in: section) < line(of: $1, in: section) }) {
            guard let value = table[key] else { continue }
            if section.isEmpty, let inner = value.table, Setting.all.contains(where: { $0.section == key }) {
                try read(inner, section: key, into: &configuration)
                continue
            }
            if section.isEmpty, key == ExportSettings.section {
                configuration.exports = try exports(value.array)
                continue
            }
            guard let setting = Setting.all.first(where: { $0.section == section && $0.key == key }) else {
                throw unknown(key, in: section, isTable: value.table != nil)
            }
            do { try setting.read(SettingValue(value), &configuration) } catch {
                throw StorageError(
                    .invalid,
                    """
                    \(place(of: key, in: section)): \(setting.name) must be \(error.message), \
                    not \(value.tomlValue.debugDescription)
                    """)
            }
        }
    }

    private func exports(_ tables: TOMLArray?) throws(StorageError) -> [ExportRule] {
        guard let tables else {
            throw StorageError(
                .invalid, "\(place(of: ExportSettings.section, in: "")): write [[export]], one for each rule")
        }
        do { return try ExportSettings.read(tables) } catch {
            throw StorageError(.invalid, "\(path): \(error.message)")
        }
    }

    private func requireComplete(_ configuration: ZerofsConfiguration) throws(StorageError) {
        func missing(_ what: String) -> StorageError { StorageError(.invalid, "\(path): \(what)") }
        if configuration.store.url.isEmpty { throw missing("store.url is missing: say where the data lies") }
        if configuration.data.directory.isEmpty { throw missing("data.directory is missing") }
        switch (configuration.keys.keyFile, configuration.keys.passphraseFile) {
        case (nil, nil): throw missing("keys.key_file or keys.passphrase_file is missing")
        case (.some, .some): throw missing("set keys.key_file or keys.passphrase_file, not both")
        default: break
        }
        guard (configuration.store.accessKeyID == nil) == (configuration.store.secretAccessKey == nil) else {
            throw missing("store.access_key_id and store.secret_access_key belong together")
        }
    }

    // MARK: Messages

    private func unknown(_ key: String, in section: String, isTable: Bool) -> StorageError {
        let name = section.isEmpty ? key : "\(section).\(key)"
        let known =
            isTable
            ? (Set(Setting.all.map(\.section)).union([ExportSettings.section])).sorted() : Setting.all.map(\.name)
        let elsewhere = Setting.all.filter { $0.key == key }.map(\.name)
        let near = elsewhere.first ?? EditDistance.nearest(to: name, among: known)
        let what = isTable ? "section [\(key)]" : "setting '\(name)'"
        return StorageError(
            .invalid, "\(place(of: key, in: section)): unknown \(what)" + (near.map { ", did you mean '\($0)'?" } ?? "")
        )
    }

    private func place(of key: String, in section: String) -> String {
        let line = line(of: key, in: section)
        return line == .max ? path : "\(path):\(line)"
    }

    /// The parser keeps no lines for values. This finds `key = ` or `[key]` under the right heading, and `.max` for
    /// forms that it does not know.
    private func line(of key: String, in section: String) -> Int {
        var current = ""
        for (index, line) in lines.enumerated() {
            let content = line.drop { $0 == " " || $0 == "\t" }
            if content.hasPrefix("[") {
                current = String(content.dropFirst().prefix { $0 != "]" }).filter { $0 != " " && $0 != "\"" }
                if section.isEmpty, current == key || current.hasPrefix(key + ".") { return index + 1 }
            } else if let equals = content.firstIndex(of: "="), !content.hasPrefix("#") {
                let left = content[..<equals].filter { $0 != " " && $0 != "\t" && $0 != "\"" }
                let full = current.isEmpty ? String(left) : "\(current).\(left)"
                let wanted = section.isEmpty ? key : "\(section).\(key)"
                if full == wanted || full.hasPrefix(wanted + ".") { return index + 1 }
            }
        }
        return .max
    }
}

extension SettingValue {
    init(_ value: any TOMLValueConvertible) {
        if let text = value.string {
            self = .text(text)
        } else if let truth = value.bool {
            self = .truth(truth)
        } else if let number = value.int {
            self = .number(number)
        } else if let array = value.array, array.allSatisfy({ $0.string != nil }) {
            self = .texts(array.compactMap { $0.string })
        } else {
            self = .other("\(value.type)")
        }
    }
}

enum EditDistance {
    /// Levenshtein's: insertions, deletions and replacements of a character.
    static func between(_ a: String, _ b: String) -> Int {
        let (a, b) = (Array(a), Array(b))
        var row = Array(0...b.count)
        for i in a.indices {
            var diagonal = row[0]
            row[0] = i + 1
            for j in b.indices {
                let above = row[j + 1]
                row[j + 1] = min(above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1))
                diagonal = above
            }
        }
        return row[b.count]
    }
    /// nil where nothing is near enough to be meant.
    static func nearest(to text: String, among known: [String]) -> String? {
        let best = known.map { ($0, between(text, $0)) }.min { $0.1 < $1.1 }
        guard let best, best.1 <= max(2, text.count / 3) else { return nil }
        return best.0
    }
}
