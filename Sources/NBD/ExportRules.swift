/// Who may use an export, and how: one `[[export]]` of the configuration.
public struct ExportRule: Sendable, Equatable {
    /// A pattern of export names: `*` stands for any characters, `?` for one. Without an `@` it means volumes and
    /// their snapshots alike, because a snapshot is its volume's data.
    public var name: String
    /// Patterns of clients; nil admits everyone. `db1` means TLS clients by any of their names; `psk:db1`,
    /// `cert:db1.example.com` and `uid:1000` mean those of one kind alone.
    public var clients: [String]?
    public var isReadOnly: Bool

    public init(name: String, clients: [String]? = nil, isReadOnly: Bool = false) {
        self.name = name
        self.clients = clients
        self.isReadOnly = isReadOnly
    }

    func covers(_ export: String) -> Bool {
        NamePattern.matches(name, name.contains("@") ? export : String(export.prefix { $0 != "@" }))
    }
    func admits(_ client: NBDClient) -> Bool {
        guard let clients, !client.isOwner else { return true }
        return clients.contains { ClientPattern.matches($0, client) }
    }
}

/// What a client may do with an export.
public enum ExportAccess: Sendable, Equatable {
    /// It looks as if there were no such export.
    case hidden
    case readOnly
    case full
}

/// The rules of a server, in their order. None at all opens everything to everyone.
///
/// The first rule that covers an export decides by its name, together with the other rules of exactly that name; among
/// these the first that admits the client says how. So a general rule further down never opens what a more specific
/// one above it keeps closed. What no rule covers is hidden.
public struct ExportRules: Sendable, Equatable {
    private let rules: [ExportRule]

    public init(_ rules: [ExportRule] = []) { self.rules = rules }

    public var isEmpty: Bool { rules.isEmpty }
    /// Whether some rule asks who a client is.
    public var namesClients: Bool { rules.contains { $0.clients != nil } }

    public func access(of client: NBDClient, to export: String) -> ExportAccess {
        if rules.isEmpty { return .full }
        guard let deciding = rules.first(where: { $0.covers(export) })?.name,
            let rule = rules.first(where: { $0.name == deciding && $0.admits(client) })
        else { return .hidden }
        return rule.isReadOnly ? .readOnly : .full
    }
}

enum ClientPattern {
    static func matches(_ pattern: String, _ client: NBDClient) -> Bool {
        let (kind, name) = split(pattern)
        switch client.proof {
        case .none: return false
        case .preSharedKey(let user): return kind != "uid" && kind != "cert" && NamePattern.matches(name, user)
        case .certificate(let names):
            return kind != "uid" && kind != "psk" && names.contains { NamePattern.matches(name, $0) }
        case .userID(let userID): return kind == "uid" && NamePattern.matches(name, "\(userID)")
        }
    }

    private static func split(_ pattern: String) -> (kind: String?, name: String) {
        for kind in ["psk", "cert", "uid"] where pattern.hasPrefix("\(kind):") {
            return (kind, String(pattern.dropFirst(kind.count + 1)))
        }
        return (nil, pattern)
    }
}

enum NamePattern {
    /// `*` stands for any characters, none too, `?` for one. Takes time in the product of both lengths at most.
    static func matches(_ pattern: String, _ text: String) -> Bool {
        let (pattern, text) = (Array(pattern), Array(text))
        var (at, place) = (0, 0)
        // Where the last star stands, and how much of the text it has taken.
        var star: (pattern: Int, text: Int)?
        while place < text.count {
            if at < pattern.count, pattern[at] == "*" {
                star = (at, place)
                at += 1
            } else if at < pattern.count, pattern[at] == "?" || pattern[at] == text[place] {
                at += 1
                place += 1
            } else if let last = star {
                star = (last.pattern, last.text + 1)
                at = last.pattern + 1
                place = last.text + 1
            } else {
                return false
            }
        }
        return pattern[at...].allSatisfy { $0 == "*" }
    }
}
