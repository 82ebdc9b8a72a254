import Codec
import StoreCore

/// One operation on the bucket, before it is signed.
struct S3Call {
    /// For error texts: `create catalog/17`.
    var action: String
    var method: HTTPRequest.Method
    /// The full key in the bucket; nil for the bucket itself.
    var object: String?
    var query: [(name: String, value: String)] = []
    var headers: [HTTPHeader] = []
    var body: [UInt8] = []
    /// Of `body`; nil to compute it.
    var bodyHash: Digest?
    var answerBytesMax = 64 << 10
    /// Whether cancelling the task may give it up: reads only.
    var isAbandonable = false
    var isRepeatable = true

    /// SHA-256 of no bytes.
    private static let emptyHash = Digest.sha256([UInt8]())

    func request(to store: S3Store, _ credentials: S3Credentials, at time: Timestamp) throws(StorageError)
        -> HTTPRequest
    {
        guard credentials.isSendable else {
            throw StorageError(
                .denied, "the S3 credentials hold characters that no header can carry: check how they were entered")
        }
        let endpoint = store.endpoint
        let path = endpoint.path(key: object)
        let hash = bodyHash ?? (body.isEmpty ? Self.emptyHash : .sha256(body))
        let signer = SignatureV4(credentials: credentials, region: store.configuration.region, time: time)
        let signed = signer.signedHeaders(
            .init(
                method: method.rawValue, path: path, query: query,
                headers: [HTTPHeader("Host", endpoint.host)] + headers, payloadHash: hash.description))
        let encodedQuery = SignatureV4.canonicalQuery(query)
        var request = HTTPRequest(
            method: method,
            url: "\(endpoint.scheme)://\(endpoint.host)\(path)" + (encodedQuery.isEmpty ? "" : "?\(encodedQuery)"),
            headers: signed, body: body, answerBytesMax: answerBytesMax, timeouts: store.configuration.timeouts)
        request.isRepeatable = isRepeatable
        request.caFile = store.configuration.caFile
        request.bypassesProxy = endpoint.isLoopback
        return request
    }
}

extension S3Credentials {
    /// Printable ASCII only: a line end would begin a header of its own.
    fileprivate var isSendable: Bool {
        !accessKeyID.isEmpty
            && (accessKeyID + (sessionToken ?? "")).utf8.allSatisfy { (0x21...0x7e).contains($0) }
    }
}
