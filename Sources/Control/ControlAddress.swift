import Glibc
public import StoreCore

/// Where a control server listens.
public enum ControlAddress: Hashable, Sendable, CustomStringConvertible {
    /// A socket file with mode 0600.
    case unix(path: String)
    /// An address of this machine, and a port; port 0 takes any that is free. Nothing but the network guards it.
    case tcp(host: String, port: UInt16)

    public var description: String {
        switch self {
        case .unix(let path): path
        case .tcp(let host, let port): "\(host.contains(":") ? "[\(host)]" : host):\(port)"
        }
    }

    /// Reads `HOST:PORT`; what has a slash, or no port, is a path.
    public init(parsing text: String) throws(StorageError) {
        guard !text.isEmpty else { throw StorageError(.invalid, "an empty text is no control address") }
        guard !text.contains("/"), text.contains(":") else {
            self = .unix(path: text)
            return
        }
        let address = try HostAndPort(parsing: text)
        self = .tcp(host: address.host, port: address.port)
    }
}

/// `127.0.0.1:10809`, `[::1]:10809`, `localhost:0`.
public struct HostAndPort: Hashable, Sendable, CustomStringConvertible {
    public var host: String
    public var port: UInt16

    /// - Throws: `invalid`, with the form that is wanted.
    public init(parsing text: String) throws(StorageError) {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]),
            let host = Self.host(text[..<colon])
        else {
            throw StorageError(.invalid, "'\(text)' is not an address: write HOST:PORT, for example 127.0.0.1:10809")
        }
        self.host = host
        self.port = port
    }
    public var description: String { "\(host.contains(":") ? "[\(host)]" : host):\(port)" }

    private static func host(_ text: Substring) -> String? {
        guard text.hasPrefix("[") else { return text.isEmpty || text.contains(":") ? nil : String(text) }
        guard text.hasSuffix("]"), text.count > 2 else { return nil }
        return String(text.dropFirst().dropLast())
    }
}
