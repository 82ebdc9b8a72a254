import Codec
import StoreCore

/// AWS Signature Version 4 in the Authorization header, as S3 wants it: each path segment encoded once.
/// Source: Amazon S3 API Reference, "Signature Calculations for the Authorization Header".
struct SignatureV4 {
    let credentials: S3Credentials
    let region: String
    let time: Timestamp

    /// What goes into a signature. All of `headers` are signed.
    struct Request {
        var method: String
        /// Encoded, as it is sent.
        var path: String
        /// Not encoded, in any order.
        var query: [(name: String, value: String)]
        var headers: [HTTPHeader]
        /// Hexadecimal SHA-256 of the body.
        var payloadHash: String
    }

    /// The request's headers with date, payload hash, session token and Authorization added.
    func signedHeaders(_ request: Request) -> [HTTPHeader] {
        var request = request
        request.headers.append(HTTPHeader("x-amz-content-sha256", request.payloadHash))
        request.headers.append(HTTPHeader("x-amz-date", CivilTime.compact(time)))
        if let token = credentials.sessionToken {
            request.headers.append(HTTPHeader("x-amz-security-token", token))
        }
        let headers = Self.canonicalHeaders(request)
        let authorization =
            "AWS4-HMAC-SHA256 Credential=\(credentials.accessKeyID)/\(scope),"
            + "SignedHeaders=\(Self.names(headers)),Signature=\(signature(request, headers))"
        return request.headers + [HTTPHeader("Authorization", authorization)]
    }

    private var date: String { String(CivilTime.compact(time).prefix(8)) }
    private var scope: String { "\(date)/\(region)/s3/aws4_request" }

    private func signature(_ request: Request, _ headers: [HTTPHeader]) -> String {
        let canonical = Digest.sha256(Array(Self.canonicalRequest(request, headers).utf8))
        let text = "AWS4-HMAC-SHA256\n\(CivilTime.compact(time))\n\(scope)\n\(canonical)"
        return Digest(bytes: authenticate(text, key: signingKey)).description
    }

    private var signingKey: [UInt8] {
        [date, region, "s3", "aws4_request"].reduce(Array("AWS4\(credentials.secretAccessKey)".utf8)) { key, part in
            authenticate(part, key: key)
        }
    }

    private func authenticate(_ text: String, key: [UInt8]) -> [UInt8] {
        HMACSHA256.authenticate(Array(text.utf8), key: key)
    }

    private static func canonicalRequest(_ request: Request, _ headers: [HTTPHeader]) -> String {
        let headerLines = headers.map { "\($0.name):\($0.value)\n" }.joined()
        return [
            request.method, request.path, canonicalQuery(request.query), headerLines, names(headers),
            request.payloadHash,
        ].joined(separator: "\n")
    }

    /// Encoded, sorted by name and then by value; it is also what is sent.
    static func canonicalQuery(_ query: [(name: String, value: String)]) -> String {
        query.map { (name: PercentEncoding.query($0.name), value: PercentEncoding.query($0.value)) }
            .sorted { ($0.name, $0.value) < ($1.name, $1.value) }
            .map { "\($0.name)=\($0.value)" }
            .joined(separator: "&")
    }

    private static func canonicalHeaders(_ request: Request) -> [HTTPHeader] {
        request.headers
            .map { HTTPHeader($0.name.lowercased(), $0.value.split(separator: " ").joined(separator: " ")) }
            .sorted { $0.name < $1.name }
    }

    private static func names(_ headers: [HTTPHeader]) -> String { headers.map(\.name).joined(separator: ";") }
}
