import NBD
import StoreCore
import TOMLKit

/// Reads zerofs.toml. Whatever it does not know stops it, with the line and the nearest name that it knows: a setting
/// that silently does nothing is worse than none.
struct ConfigurationReader {
    /// For messages.
    let path: String
    private let lines: SettingLines
    private let text: String

    static func read(_ text: String, path: String) throws(StorageError) -> ZerofsConfiguration {
        try ConfigurationReader(text, path: path).configuration()
    }

    private init(_ text: String, path: String) {
        self.path = path
        self.text = text
        lines = SettingLines(text)
    }

    private func configuration() throws(StorageError) -> ZerofsConfiguration {
        let table = try parse()
        var configuration = ZerofsConfiguration()
        try read(table, section: "", into: &configuration)
        try requireComplete(configuration)
        return configuration
    }

    private func parse() throws(StorageError) -> TOMLTable {
        if let line = TOMLGuard.brokenHeading(in: text) {
            throw StorageError(.invalid, "\(path):\(line): a heading is a name in brackets, such as [store]")
        }
        do { return try TOMLTable(string: text) } catch let error as TOMLParseError {
            throw StorageError(.invalid, "\(path):\(error.source.begin.line): \(error.description)")
        } catch { throw StorageError(.invalid, "\(path) is not TOML", cause: error) }
    }

    private func read(
        _ table: TOMLTable, section: String, into configuration: inout ZerofsConfiguration
    ) throws(StorageError) {
        for key in table.keys.sorted(by: { lines[$0, section] < lines[$1, section] }) {
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
        let line = lines[key, section]
        return line == .max ? path : "\(path):\(line)"
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
