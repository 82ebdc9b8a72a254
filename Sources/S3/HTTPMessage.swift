import StoreCore

/// One request to a server, complete: whoever sends it adds nothing but `Content-Length`.
struct HTTPRequest: Sendable {
    enum Method: String, Sendable {
        case get = "GET"
        case head = "HEAD"
        case put = "PUT"
        case post = "POST"
        case delete = "DELETE"
    }

    var method: Method
    /// `http://` or `https://`, percent-encoded; sent as it is.
    var url: String
    var headers: [HTTPHeader]
    var body: [UInt8] = []
    /// What a successful answer's body may hold; more stops the transfer with `bodyTooLarge`.
    var answerBytesMax: Int
    /// Whether libcurl may send it again by itself when a kept connection turns out to be dead. Never for a conditional
    /// creation: the first sending may have succeeded, and the second would then report `exists` for our own object.
    var isRepeatable = true
    var timeouts: S3Timeouts
    /// PEM file of the certificate authorities to trust instead of the system's.
    var caFile: String?
    /// Ignores the proxy variables of the environment.
    var bypassesProxy = false
}

struct HTTPHeader: Hashable, Sendable {
    var name: String
    var value: String
    init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }
}

/// A whole answer; never one that was cut short.
struct HTTPResponse: Sendable {
    var status: Int
    /// Names in lower case; of repeated ones the last.
    var headers: [String: String]
    /// Of an error at most `ResponseCollector.errorBytesMax`, cut there.
    var body: [UInt8]

    var isSuccess: Bool { (200...299).contains(status) }
    /// `Content-Length`, nil where there is none or it is no number.
    var contentLength: UInt64? { headers["content-length"].flatMap { UInt64($0) } }
    /// Whether the end of the body is marked, so that a broken connection cannot pass for it.
    var hasMarkedEnd: Bool {
        contentLength != nil || headers["transfer-encoding"]?.lowercased().contains("chunked") == true
    }
}

/// Why there is no whole answer. Whether the server acted on the request is unknown, unless `notSent`.
struct TransferFailure: Error, Sendable, CustomStringConvertible {
    enum Kind: Sendable, Equatable {
        /// The name does not resolve, or nothing answers there.
        case unreachable
        case timedOut
        /// The connection ended, or what came is not HTTP.
        case broken
        /// The server's certificate is not trusted, or TLS failed.
        case untrusted
        /// The request cannot be made: a bad URL, an unreadable CA file.
        case unusable
        /// The answer's body is larger than was asked for.
        case bodyTooLarge
    }
    var kind: Kind
    /// libcurl's words; they hold the host's name and no secrets.
    var description: String
}
