public import ObjectStorage
import StoreCore

extension S3Store {
    public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        guard let range else { return try await getWhole(key) }
        guard range.lowerBound < range.upperBound else {
            throw StorageError(.invalid, "an empty range of \(key) was asked for")
        }
        return try await get(key, range)
    }

    private func getWhole(_ key: ObjectKey) async throws -> [UInt8] {
        let call = S3Call(
            action: "read \(key)", method: .get, object: try objectName(key),
            answerBytesMax: configuration.objectBytesMax, isAbandonable: true)
        let response = try await send(call)
        guard response.status == 200 else { throw readFailure(response, call.action, key) }
        // A transfer shorter than its Content-Length has failed already; without a marked end nothing is proven.
        guard response.hasMarkedEnd else { throw doubtful(call.action, "the answer's length is not known") }
        return response.body
    }

    private func get(_ key: ObjectKey, _ range: Range<UInt64>) async throws -> [UInt8] {
        guard let count = Int(exactly: range.upperBound - range.lowerBound) else {
            throw StorageError(.invalid, "the range \(range) of \(key) is too large")
        }
        let call = S3Call(
            action: "read \(key)", method: .get, object: try objectName(key),
            headers: [HTTPHeader("Range", "bytes=\(range.lowerBound)-\(range.upperBound - 1)")],
            answerBytesMax: count, isAbandonable: true)
        let response = try await send(call)
        guard response.status == 206 else {
            if response.status == 200 {
                throw StorageError(.unsupported, "cannot \(call.action) in \(location): the server ignores ranges")
            }
            throw readFailure(response, call.action, key)
        }
        guard let sent = ContentRange(response.headers["content-range"] ?? ""), sent.answers(range),
            sent.byteCount == UInt64(response.body.count)
        else { throw doubtful(call.action, "it is not the range asked for") }
        return response.body
    }

    public func head(_ key: ObjectKey) async throws -> ObjectInfo? {
        let call = S3Call(
            action: "look up \(key)", method: .head, object: try objectName(key), isAbandonable: true)
        let response = try await send(call)
        if response.status == 404 { return nil }
        guard response.status == 200 else { throw failure(response, call.action) }
        guard let byteCount = response.contentLength else { throw doubtful(call.action, "it gives no length") }
        let modified = response.headers["last-modified"].flatMap(CivilTime.parseHTTPDate)
        return ObjectInfo(key: key, byteCount: byteCount, modified: modified ?? Timestamp(nanoseconds: 0))
    }

    private func readFailure(_ response: HTTPResponse, _ action: String, _ key: ObjectKey) -> StorageError {
        let refusal = S3Refusal(response)
        switch (response.status, refusal.code) {
        case (404, nil), (404, "NoSuchKey"): return StorageError(.notFound, "there is no object \(key) in \(location)")
        case (416, _): return StorageError(.invalid, "the range lies beyond the end of object \(key) in \(location)")
        default: return refusal.error(action, location: configuration.location)
        }
    }

    func doubtful(_ action: String, _ what: String) -> StorageError {
        StorageError(.unavailable, "cannot \(action) in \(location): the answer cannot be trusted: \(what)")
    }
}

/// `bytes 0-99/1234`: what a 206 holds.
struct ContentRange {
    let first: UInt64
    let last: UInt64
    let total: UInt64?

    init?(_ text: String) {
        guard text.hasPrefix("bytes ") else { return nil }
        let parts = text.dropFirst(6).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        let ends = parts[0].split(separator: "-", omittingEmptySubsequences: false).map { UInt64($0) }
        guard ends.count == 2, let first = ends[0], let last = ends[1], first <= last, last < .max else { return nil }
        self.first = first
        self.last = last
        total = UInt64(parts[1])
    }

    var byteCount: UInt64 { last - first + 1 }

    /// Whether it is `range`, cut to the object's end and no shorter.
    func answers(_ range: Range<UInt64>) -> Bool {
        guard first == range.lowerBound, last < range.upperBound else { return false }
        return last == range.upperBound - 1 || total == last + 1
    }
}
