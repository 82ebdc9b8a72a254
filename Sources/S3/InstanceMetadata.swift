import Foundation
import StoreCore

/// The role of an EC2 instance, from its metadata service, version 2 (a session token for each look).
/// Source: Amazon EC2 User Guide, "Use the Instance Metadata Service". Asked only when nothing else has credentials.
struct InstanceMetadata {
    private let address: String
    private let isDisabled: Bool
    /// It answers within milliseconds where it is; elsewhere nothing does, and nobody should wait for that.
    private static let timeouts = S3Timeouts(connect: .seconds(1), idle: .seconds(2), total: .seconds(3))

    init(_ environment: AWSEnvironment) {
        let address = environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] ?? "http://169.254.169.254"
        self.address = address.hasSuffix("/") ? String(address.dropLast()) : address
        isDisabled = environment["AWS_EC2_METADATA_DISABLED"]?.lowercased() == "true"
    }

    /// nil where there is no such service, or no role.
    func credentials() async throws -> S3Credentials? {
        if isDisabled { return nil }
        let engine = try CurlEngine(connectionsMax: 1)
        defer { engine.stop() }
        do {
            return try await credentials(engine)
        } catch is TransferFailure {
            return nil
        }
    }

    private func credentials(_ engine: CurlEngine) async throws -> S3Credentials? {
        let lifetime = HTTPHeader("X-aws-ec2-metadata-token-ttl-seconds", "300")
        guard let token = try await text(engine, .put, "/latest/api/token", lifetime) else { return nil }
        let session = HTTPHeader("X-aws-ec2-metadata-token", token)
        let roles = "/latest/meta-data/iam/security-credentials/"
        guard let role = try await text(engine, .get, roles, session)?.split(whereSeparator: \.isNewline).first,
            let answer = try await text(engine, .get, roles + PercentEncoding.path(String(role)), session)
        else { return nil }
        return try Self.decode(answer)
    }

    private func text(
        _ engine: CurlEngine, _ method: HTTPRequest.Method, _ path: String, _ header: HTTPHeader
    ) async throws -> String? {
        var request = HTTPRequest(
            method: method, url: address + path, headers: [header], answerBytesMax: 16 << 10, timeouts: Self.timeouts)
        request.bypassesProxy = true
        let response = try await engine.perform(request, isAbandonable: true)
        guard response.isSuccess else { return nil }
        let text = String(decoding: response.body, as: UTF8.self).trimmed()
        // It becomes a header or a path: nothing that ends a line may be in it.
        return text.isEmpty ? nil : text
    }

    static func decode(_ text: String) throws(StorageError) -> S3Credentials {
        struct Answer: Decodable {
            var keyID: String
            var secret: String
            var token: String?
            var expiration: String?

            enum CodingKeys: String, CodingKey {
                case keyID = "AccessKeyId"
                case secret = "SecretAccessKey"
                case token = "Token"
                case expiration = "Expiration"
            }
        }
        do {
            let answer = try JSONDecoder().decode(Answer.self, from: Data(text.utf8))
            return S3Credentials(
                accessKeyID: answer.keyID, secretAccessKey: answer.secret, sessionToken: answer.token,
                expires: answer.expiration.flatMap(CivilTime.parseISO8601))
        } catch {
            // The decoder's error may quote what it read.
            throw StorageError(.denied, "the instance's metadata service answers without usable credentials")
        }
    }
}
