import FoundationEssentials
import StoreCore
import Volumes

/// What goes over the control socket, apart from commands and their outputs.

/// `GET /healthz`.
public struct HealthReport: Codable, Sendable, Equatable {
    public enum Status: String, Codable, Sendable { case ok, draining }
    public var status: Status
    public var version: String
    public var pid: Int32
    /// The store's URL, so that a client notices a server of another store.
    public var store: String
    /// Where NBD clients connect: `HOST:PORT` or `unix:/path`.
    public var nbd: [String]
    /// `off`, `on` or `required`; nil from servers that know no TLS.
    public var tls: String?
    /// Whether clients of unix sockets need TLS as well.
    public var tlsOnSocket: Bool?
    public init(
        status: Status, version: String, pid: Int32, store: String, nbd: [String], tls: String? = nil,
        tlsOnSocket: Bool? = nil
    ) {
        self.tls = tls
        self.tlsOnSocket = tlsOnSocket
        self.status = status
        self.version = version
        self.pid = pid
        self.store = store
        self.nbd = nbd
    }
}

/// An error as JSON: `{"error": {"code": "not-found", "message": "…"}}`.
struct ErrorMessage: Codable, Sendable, Equatable {
    struct Body: Codable, Sendable, Equatable {
        var code: String
        var message: String
    }
    var error: Body

    init(_ error: any Error) {
        self.error = Body(code: error.storageCode.rawValue, message: "\(error)")
    }
    /// A code of a newer version counts as `unavailable`.
    var storageError: StorageError { StorageError(ErrorCode(rawValue: error.code) ?? .unavailable, error.message) }
}

/// One line of a long command's answer: any number with progress, then one with a result or an error.
struct StreamLine<Output: Codable & Sendable>: Codable, Sendable {
    var progress: ProgressReport?
    var result: Output?
    var error: ErrorMessage.Body?
}

public enum ControlJSON {
    /// One line, keys sorted, so that equal values are equal bytes.
    public static func encode(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(value))
    }
    /// For people and files: indented, keys sorted.
    public static func text(_ value: some Encodable) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }
    public static func decode<T: Decodable>(_: T.Type = T.self, from bytes: [UInt8]) throws -> T {
        try JSONDecoder().decode(T.self, from: Data(bytes))
    }
}
