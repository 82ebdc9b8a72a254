/// The requests that a store serves, apart where they cost apart.
public enum RequestKind: String, Codable, CaseIterable, Sendable, CodingKeyRepresentable {
    case get
    /// A GET of a part.
    case rangedGet = "ranged-get"
    case head
    /// A conditional PUT.
    case create
    case list
    case delete
}
