import Codec
public import ObjectStorage
public import StoreCore

extension S3Store {
    /// What S3 takes in one PUT.
    private static let uploadBytesMax = 5 << 30
    /// Attempts at a creation that collides with a rival's (409).
    private static let conflictsMax = 6

    public func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        guard bytes.count <= Self.uploadBytesMax else {
            throw StorageError(.invalid, "object \(key) of \(bytes.count) bytes is too large for one upload")
        }
        let hash = sha256 ?? .sha256(bytes)
        let call = S3Call(
            action: "create \(key)", method: .put, object: try objectName(key), headers: createHeaders(hash),
            body: bytes, bodyHash: hash, isRepeatable: false)
        for conflicts in 1... {
            let response = try await send(call)
            switch response.status {
            case 200...299: return .created
            case 412: return .exists
            // Refused because a rival is at it: nothing has happened, so trying again is not ambiguous.
            case 409 where conflicts < Self.conflictsMax: try await time.sleep(for: .milliseconds(10 << conflicts))
            default: throw createFailure(response, call, bytes)
            }
        }
        preconditionFailure("the last conflict ends the loop")
    }

    private func createHeaders(_ hash: Digest) -> [HTTPHeader] {
        let headers = [
            HTTPHeader("If-None-Match", "*"), HTTPHeader("Content-Type", "application/octet-stream"),
        ]
        guard configuration.sendsChecksum else { return headers }
        return headers + [HTTPHeader("x-amz-checksum-sha256", Base64.encode(hash.bytes))]
    }

    private func createFailure(_ response: HTTPResponse, _ call: S3Call, _ bytes: [UInt8]) -> StorageError {
        let refusal = S3Refusal(response)
        // Whose fault is a wrong hash? What was damaged on the way may be sent again; a wrong hash may not.
        if ["XAmzContentSHA256Mismatch", "BadDigest"].contains(refusal.code), call.bodyHash != .sha256(bytes) {
            return StorageError(.invalid, "cannot \(call.action) in \(location): its bytes do not match their SHA-256")
        }
        if refusal.code == "NotImplemented" || refusal.status == 501 {
            return StorageError(
                .unsupported,
                "cannot \(call.action) in \(location): the server lacks conditional creation (If-None-Match)")
        }
        return refusal.error(call.action, location: configuration.location)
    }

    /// Makes the bucket; one that is there and ours is no error. For tests: buckets are the operator's business.
    func createBucket() async throws {
        let region = configuration.region
        let body =
            configuration.endpoint != nil || region == S3Configuration.regionDefault
            ? ""
            : "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>"
                + "\(region)</LocationConstraint></CreateBucketConfiguration>"
        let call = S3Call(action: "make the bucket", method: .put, object: nil, body: Array(body.utf8))
        let response = try await send(call)
        if response.isSuccess || S3Refusal(response).code == "BucketAlreadyOwnedByYou" { return }
        throw failure(response, call.action)
    }
}
