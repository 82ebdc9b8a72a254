import StoreCore

/// An answer that is no success, read for what S3 says in it.
struct S3Refusal {
    let status: Int
    /// `SlowDown`, `NoSuchKey`; nil where the body says none: HEAD, proxies.
    let code: String?
    private let words: String?
    private let region: String?
    let serverTime: Timestamp?

    init(_ response: HTTPResponse) {
        status = response.status
        serverTime = response.headers["date"].flatMap(CivilTime.parseHTTPDate)
        let message = Self.message(of: response)
        code = message?.code.map(Self.printable)
        words = message?.message.map(Self.printable)
        region = (response.headers["x-amz-bucket-region"] ?? message?.region).map(Self.printable)
    }

    private static func message(of response: HTTPResponse) -> ErrorMessage? {
        do {
            return try ServerXML.decode(ErrorMessage.self, root: "Error", from: response.body)
        } catch {
            // No body, or a proxy's page: the status alone has to do.
            return nil
        }
    }

    /// A server's words fit for a log line.
    private static func printable(_ text: String) -> String {
        String(
            String.UnicodeScalarView(text.unicodeScalars.filter { $0.value >= 0x20 && $0.value != 0x7f }.prefix(300)))
    }

    /// The request was signed for a time that the server does not accept. A HEAD's answer has no code, so there the
    /// clocks are compared.
    func concernsClock(localTime: Timestamp) -> Bool {
        if code == "RequestTimeTooSkewed" { return serverTime != nil }
        guard status == 403, code == nil, let serverTime else { return false }
        return abs(serverTime.seconds - localTime.seconds) > 5 * 60
    }

    /// Other credentials may be accepted.
    var concernsCredentials: Bool {
        switch code {
        case "ExpiredToken", "InvalidToken", "TokenRefreshRequired", "InvalidAccessKeyId": true
        case nil: status == 401 || status == 403
        default: false
        }
    }

    /// Whether DeleteObjects is what the server lacks.
    var lacksOperation: Bool { [400, 405, 501].contains(status) || code == "NotImplemented" }

    /// The error that a caller sees.
    /// - Parameters:
    ///   - action: what was attempted: `create catalog/17`.
    ///   - location: `s3://bucket/prefix`.
    func error(_ action: String, location: S3URL) -> StorageError {
        let said = [code, words].compactMap(\.self).joined(separator: ": ")
        let answer = said.isEmpty ? "HTTP \(status)" : "\(said) (HTTP \(status))"
        let advice = advice(location).map { "; \($0)" } ?? ""
        return StorageError(errorCode, "cannot \(action) in \(location): \(answer)\(advice)")
    }

    private var errorCode: ErrorCode {
        switch code {
        case "NoSuchBucket", "NoSuchKey": return .notFound
        case "NotImplemented": return .unsupported
        case "QuotaExceeded", "XMinioStorageFull", "EntityTooLarge": return .full
        case "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted",
            "ConditionalRequestConflict", "RequestLimitExceeded", "Throttling", "BadDigest",
            "XAmzContentSHA256Mismatch":
            return .unavailable
        case "ExpiredToken", "InvalidToken", "TokenRefreshRequired": return .denied
        default: return Self.errorCode(status: status)
        }
    }

    private static func errorCode(status: Int) -> ErrorCode {
        switch status {
        case 401, 403: .denied
        case 404: .notFound
        case 408, 409, 425, 429: .unavailable
        case 501: .unsupported
        case 507: .full
        case 500...599: .unavailable
        default: .invalid
        }
    }

    private func advice(_ location: S3URL) -> String? {
        switch code {
        case "NoSuchBucket": return "there is no bucket '\(location.bucket)': create it, or correct the store's URL"
        case "SignatureDoesNotMatch": return "the secret access key is probably wrong"
        case "InvalidAccessKeyId": return "the access key ID is unknown there: check it, and the endpoint"
        case "RequestTimeTooSkewed": return "this machine's clock is wrong: set it"
        case "ExpiredToken", "InvalidToken", "TokenRefreshRequired": return "get new session credentials"
        case "AccessDenied":
            return "the key may lack permission for it: s3:GetObject, PutObject, DeleteObject and ListBucket are needed"
        case "QuotaExceeded", "XMinioStorageFull": return "the store is full"
        default: break
        }
        if let region, (300...399).contains(status) || code == "AuthorizationHeaderMalformed" {
            return "the bucket lies in region \(region): set it"
        }
        return status == 403 && code == nil ? "check credentials, permissions and the endpoint" : nil
    }
}
