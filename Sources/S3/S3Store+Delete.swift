import Codec
public import ObjectStorage
import StoreCore

extension S3Store {
    private static let deletionsPerRequest = 1000
    private static let singleDeletionsAtOnce = 16
    /// 1000 refusals with their keys and words.
    private static let deleteAnswerBytesMax = 8 << 20

    public func delete(_ keys: [ObjectKey]) async throws {
        if keys.count == 1 { return try await deleteOne(keys[0]) }
        for start in stride(from: 0, to: keys.count, by: Self.deletionsPerRequest) {
            try await deleteBatch(Array(keys[start..<min(start + Self.deletionsPerRequest, keys.count)]))
        }
    }

    private func deleteBatch(_ keys: [ObjectKey]) async throws {
        let body = try deletionList(keys)
        guard let checksum = try contentMD5(body) else { return try await deleteOneByOne(keys) }
        let call = S3Call(
            action: "delete \(keys.count) objects", method: .post, object: nil, query: [(name: "delete", value: "")],
            headers: [checksum, HTTPHeader("Content-Type", "application/xml")],
            body: body, answerBytesMax: Self.deleteAnswerBytesMax)
        let response = try await send(call)
        guard response.isSuccess else {
            let refusal = S3Refusal(response)
            if refusal.lacksOperation { return try await deleteOneByOne(keys) }
            throw refusal.error(call.action, location: configuration.location)
        }
        let answer = try ServerXML.decode(DeleteMessage.self, root: "DeleteResult", from: response.body)
        let refusals = answer.refusals.filter { $0.code != "NoSuchKey" }
        if let first = refusals.first { throw refused(first, count: refusals.count) }
    }

    /// Older servers insist on it; the signed SHA-256 protects the body by itself. nil where OpenSSL lacks MD5.
    private func contentMD5(_ body: [UInt8]) throws(StorageError) -> HTTPHeader? {
        do {
            return HTTPHeader("Content-MD5", try MD5.base64(body))
        } catch  where error.code == .unsupported {
            return nil
        }
    }

    private func deletionList(_ keys: [ObjectKey]) throws(StorageError) -> [UInt8] {
        var text = "<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>"
        for key in keys {
            text += "<Object><Key>\(ServerXML.escape(try objectName(key)))</Key></Object>"
        }
        return Array((text + "</Delete>").utf8)
    }

    private func refused(_ refusal: DeleteMessage.Refusal, count: Int) -> StorageError {
        let reason = [refusal.code, refusal.message].compactMap { $0?.prefix(200) }.joined(separator: ": ")
        let key = refusal.key.map { $0.trimmingPrefix(configuration.location.keyPrefix).prefix(200) } ?? "an object"
        let more = count > 1 ? " and \(count - 1) more" : ""
        return StorageError(
            refusal.code == "AccessDenied" ? .denied : .unavailable,
            "cannot delete \(key)\(more) in \(location): \(reason.filter { !$0.isNewline })")
    }

    private func deleteOne(_ key: ObjectKey) async throws {
        let call = S3Call(action: "delete \(key)", method: .delete, object: try objectName(key))
        let response = try await send(call)
        if response.isSuccess { return }
        let refusal = S3Refusal(response)
        if response.status == 404, refusal.code != "NoSuchBucket" { return }
        throw refusal.error(call.action, location: configuration.location)
    }

    private func deleteOneByOne(_ keys: [ObjectKey]) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (place, key) in keys.enumerated() {
                if place >= Self.singleDeletionsAtOnce { try await group.next() }
                group.addTask { try await self.deleteOne(key) }
            }
            try await group.waitForAll()
        }
    }
}
