import Control
import StoreCore

/// What is to be attached, and where a client reaches it.
struct Export: Sendable {
    enum Address: Hashable, Sendable {
        case unix(String)
        case tcp(host: String, port: UInt16)
    }
    /// `pg-prod` or `pg-prod@monday`.
    var name: String
    var isReadOnly: Bool
    /// As the server tells them: `HOST:PORT` or `unix:/path`.
    var addresses: [String]
    /// The pre-shared key to connect with, where the server serves nobody without TLS.
    var key: PreSharedKeyUser?

    struct PreSharedKeyUser: Hashable, Sendable {
        var user: String
        /// The file that holds the key; its name is no secret.
        var file: String
    }

    /// A socket file where there is one: faster than TCP.
    func address() throws(StorageError) -> Address {
        if let unix = addresses.first(where: { $0.hasPrefix("unix:") }) { return .unix(String(unix.dropFirst(5))) }
        guard let first = addresses.first else {
            throw StorageError(.unavailable, "the server listens nowhere for NBD")
        }
        let tcp = try HostAndPort(parsing: first)
        // An address that stands for all of them is reached over the loopback.
        let host = ["0.0.0.0": "127.0.0.1", "::": "::1"][tcp.host] ?? tcp.host
        return .tcp(host: host, port: tcp.port)
    }

    /// As the NBD URI specification writes it.
    func uri() throws(StorageError) -> String {
        let export = Self.encode(name)
        let scheme = key == nil ? "nbd" : "nbds"
        let user = key.map { "\(Self.encode($0.user))@" } ?? ""
        let file = key.map { "tls-psk-file=\(Self.encode($0.file))" }
        switch try address() {
        case .unix(let path):
            return "\(scheme)+unix://\(user)/\(export)?socket=\(Self.encode(path))" + (file.map { "&\($0)" } ?? "")
        case .tcp(let host, let port):
            let place = "\(host.contains(":") ? "[\(host)]" : host):\(port)"
            return "\(scheme)://\(user)\(place)/\(export)" + (file.map { "?\($0)" } ?? "")
        }
    }

    static func encode(_ text: String) -> String {
        text.utf8.reduce(into: "") { result, byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: result.unicodeScalars.append(UnicodeScalar(byte))
            case _ where "-._~/".utf8.contains(byte): result.unicodeScalars.append(UnicodeScalar(byte))
            default: result += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
            }
        }
    }
}
