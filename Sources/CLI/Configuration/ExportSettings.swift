import NBD
import StoreCore
import TOMLKit

/// The `[[export]]` tables of zerofs.toml: who may use which export.
enum ExportSettings {
    static let section = "export"
    private static let keys = ["name", "clients", "read_only"]

    /// Throws `invalid`: which table, and what is wanted in it.
    static func read(_ tables: TOMLArray) throws(StorageError) -> [ExportRule] {
        var rules: [ExportRule] = []
        for (index, value) in tables.enumerated() {
            guard let table = value.table else { throw StorageError(.invalid, "[[export]] must be a table") }
            do { rules.append(try rule(table)) } catch {
                throw StorageError(.invalid, "[[export]] number \(index + 1): \(error.message)")
            }
        }
        return rules
    }

    private static func rule(_ table: TOMLTable) throws(StorageError) -> ExportRule {
        for key in table.keys.sorted() where !keys.contains(key) {
            let near = EditDistance.nearest(to: key, among: keys).map { ", did you mean '\($0)'?" } ?? ""
            throw StorageError(.invalid, "unknown setting '\(key)'\(near)")
        }
        guard let name = table["name"]?.string, !name.isEmpty else {
            throw StorageError(.invalid, "name must be a text in quotes, such as \"pg-prod\" or \"pg-*@*\"")
        }
        var rule = ExportRule(name: name)
        if let value = table["clients"] { rule.clients = try clients(SettingValue(value)) }
        if let value = table["read_only"] {
            guard let isReadOnly = value.bool else { throw StorageError(.invalid, "read_only must be true or false") }
            rule.isReadOnly = isReadOnly
        }
        return rule
    }

    private static func clients(_ value: SettingValue) throws(StorageError) -> [String] {
        let texts: [String]? =
            switch value {
            case .texts(let texts): texts
            case .text(let text): [text]
            default: nil
            }
        guard let texts, !texts.contains("") else {
            throw StorageError(.invalid, "clients must be a list of texts, such as [\"db1\", \"uid:1000\"]")
        }
        return texts
    }

    static func write(_ rules: [ExportRule]) -> String {
        guard !rules.isEmpty else { return example }
        return rules.map { rule in
            var text = "\n[[export]]\nname = \(TOMLText.quote(rule.name))\n"
            if let clients = rule.clients { text += "clients = \(TOMLText.list(clients))\n" }
            return text + (rule.isReadOnly ? "read_only = true\n" : "")
        }.joined()
    }

    /// What the file shows where there are no rules.
    private static let example = """


        # Who may use which export; without any [[export]] everyone may use all. The first one whose name
        # fits decides, with the others of the same name; what none fits is hidden. `*` and `?` are wildcards;
        # a name without @ means volumes and their snapshots. Clients are known by their pre-shared key
        # (psk:db1), their certificate (cert:db1.example.com), either of them (db1), or, on a unix socket,
        # their user (uid:1000); without `clients` everyone is let in. Root and the server's own user may do
        # on the unix socket what any client may.
        # [[export]]
        # name = "pg-prod"
        # clients = ["db1", "db2"]
        # [[export]]
        # name = "pg-*@*"
        # clients = ["backup"]
        # read_only = true

        """
}
