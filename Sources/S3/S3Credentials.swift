public import StoreCore

/// What signs requests. Prints without its secrets.
public struct S3Credentials: Hashable, Sendable {
    public var accessKeyID: String
    public var secretAccessKey: String
    public var sessionToken: String?
    /// When they stop being valid; nil for lasting ones.
    public var expires: Timestamp?

    public init(
        accessKeyID: String, secretAccessKey: String, sessionToken: String? = nil, expires: Timestamp? = nil
    ) {
        self.accessKeyID = accessKeyID
        self.secretAccessKey = secretAccessKey
        self.sessionToken = sessionToken
        self.expires = expires
    }
}

extension S3Credentials: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "S3 credentials" }
    public var debugDescription: String { description }
    // So that `dump` and test failures do not print the fields either.
    public var customMirror: Mirror { Mirror(self, children: [:]) }

    /// A refusal with any secret in its words blacked out, should a server quote what it was sent.
    func redacting(_ response: HTTPResponse) -> HTTPResponse {
        var response = response
        let text = String(decoding: response.body, as: UTF8.self)
        let clean = [secretAccessKey, sessionToken ?? ""].reduce(text) { text, secret in
            secret.utf8.count < 8 ? text : text.replacing(secret, with: "***")
        }
        if clean != text { response.body = Array(clean.utf8) }
        return response
    }
}

/// Where credentials come from. Asked before every request, so it answers from memory when it can.
public protocol S3CredentialsProvider: Sendable {
    /// Throws `denied` with a line that says where it looked when there are none.
    func credentials() async throws -> S3Credentials
    /// The server called these expired or unknown: the next call should look again, if that can help.
    /// Returns whether it can.
    func discard(_ credentials: S3Credentials) async -> Bool
}

extension S3CredentialsProvider {
    public func discard(_ credentials: S3Credentials) async -> Bool { false }
}

/// Credentials that were given, and never change.
public struct FixedCredentials: S3CredentialsProvider {
    private let value: S3Credentials
    public init(_ value: S3Credentials) { self.value = value }
    public init(accessKeyID: String, secretAccessKey: String, sessionToken: String? = nil) {
        value = S3Credentials(
            accessKeyID: accessKeyID, secretAccessKey: secretAccessKey, sessionToken: sessionToken)
    }
    public func credentials() async throws -> S3Credentials { value }
}
