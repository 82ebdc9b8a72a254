public import ObjectStorage
import StoreCore

extension S3Store {
    /// 1000 keys of 1024 bytes, each byte escaped, and what stands around them.
    private static let pageBytesMax = 8 << 20
    /// Pages without a key in a row, before the server is called broken.
    private static let emptyPagesMax = 100

    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        guard (1...1000).contains(limit) else {
            throw StorageError(.invalid, "a page of \(limit) objects was asked for: 1 to 1000 can be")
        }
        var token: String?
        for _ in 0..<Self.emptyPagesMax {
            let message = try await listPage(prefix: prefix, after: after, limit: limit, token: token)
            let page = try ListReader(location: configuration.location).page(message, prefix: prefix, after: after)
            // A page without keys that is not the last one says nothing: the caller could not go on from it.
            guard page.objects.isEmpty, page.isTruncated else { return page }
            guard let next = message.continuationToken, !next.isEmpty else {
                throw doubtful("list '\(prefix)'", "a page has no keys, and more follow without a way to them")
            }
            token = next
        }
        throw doubtful("list '\(prefix)'", "\(Self.emptyPagesMax) empty pages in a row")
    }

    private func listPage(prefix: String, after: ObjectKey?, limit: Int, token: String?) async throws -> ListMessage {
        var query = [
            (name: "list-type", value: "2"), (name: "encoding-type", value: "url"),
            (name: "max-keys", value: "\(limit)"),
            (name: "prefix", value: configuration.location.keyPrefix + prefix),
        ]
        if let after { query.append((name: "start-after", value: configuration.location.keyPrefix + after.text)) }
        if let token { query.append((name: "continuation-token", value: token)) }
        let call = S3Call(
            action: "list '\(prefix)'", method: .get, object: nil, query: query, answerBytesMax: Self.pageBytesMax,
            isAbandonable: true)
        let response = try await send(call)
        guard response.status == 200 else { throw failure(response, call.action) }
        guard response.hasMarkedEnd else { throw doubtful(call.action, "the answer's length is not known") }
        return try ServerXML.decode(ListMessage.self, root: "ListBucketResult", from: response.body)
    }
}

extension S3URL {
    /// What stands before every key of the store.
    var keyPrefix: String { prefix.isEmpty ? "" : prefix + "/" }
}

/// Checks a listing against what was asked for: recovery and gc rest on its order and its completeness.
struct ListReader {
    let location: S3URL

    func page(_ message: ListMessage, prefix: String, after: ObjectKey?) throws(StorageError) -> ObjectPage {
        var objects: [ObjectInfo] = []
        objects.reserveCapacity(message.entries.count)
        var last = after
        for entry in message.entries {
            let key = try key(entry, isEncoded: message.encodingType == "url")
            guard key.text.utf8.starts(with: prefix.utf8) else {
                throw broken("it holds a key that does not begin with '\(prefix)'")
            }
            if let last, key <= last { throw broken("its keys are not in byte order (\(key) after \(last))") }
            guard let byteCount = UInt64(entry.size) else { throw broken("the size of \(key) is no number") }
            let modified = entry.lastModified.flatMap(CivilTime.parseISO8601) ?? Timestamp(nanoseconds: 0)
            objects.append(ObjectInfo(key: key, byteCount: byteCount, modified: modified))
            last = key
        }
        return ObjectPage(objects: objects, isTruncated: try isTruncated(message))
    }

    private func key(_ entry: ListMessage.Entry, isEncoded: Bool) throws(StorageError) -> ObjectKey {
        guard let name = isEncoded ? PercentEncoding.decode(entry.key) : entry.key else {
            throw broken("a key in it is not encoded as it says")
        }
        guard name.utf8.starts(with: location.keyPrefix.utf8) else {
            throw broken("it holds a key outside the store's prefix")
        }
        return ObjectKey(String(decoding: name.utf8.dropFirst(location.keyPrefix.utf8.count), as: UTF8.self))
    }

    private func isTruncated(_ message: ListMessage) throws(StorageError) -> Bool {
        switch message.isTruncated.lowercased() {
        case "true": true
        case "false": false
        default: throw broken("it does not say whether it is complete")
        }
    }

    private func broken(_ what: String) -> StorageError {
        StorageError(.unsupported, "the server's list of \(location) cannot be relied on: \(what)")
    }
}
