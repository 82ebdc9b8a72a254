import StoreCore

/// One request and its answer, HTTP/1.1 over a connection of its own. Blocking.
struct HTTPExchange: ~Copyable {
    let status: Int
    private var connection: UnixConnection
    private let isChunked: Bool
    private var bytesLeft: Int
    private var isAtEnd = false

    private static let bodyBytesMax = 256 << 20

    init(
        _ method: String, _ path: String, body: [UInt8]?, at socket: String, timeoutSeconds: Int?
    ) throws(StorageError) {
        let connection = try UnixConnection(connectingTo: socket)
        if let timeoutSeconds { connection.setTimeout(seconds: timeoutSeconds) }
        try self.init(method, path, body: body, over: connection, named: socket)
    }

    init(
        _ method: String, _ path: String, body: [UInt8]?, over connection: consuming UnixConnection,
        named socket: String
    ) throws(StorageError) {
        var connection = connection
        var head = "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        if let body { head += "Content-Type: application/json\r\nContent-Length: \(body.count)\r\n" }
        try connection.send(Array("\(head)\r\n".utf8) + (body ?? []))
        let parts = try connection.line().split(separator: " ")
        guard parts.count >= 2, parts[0].hasPrefix("HTTP/1."), let status = Int(parts[1]) else {
            throw StorageError(.unavailable, "what answers at \(socket) is no zerofs server")
        }
        let framing = try Self.framing(&connection)
        self.init(status, connection, framing)
    }

    private init(_ status: Int, _ connection: consuming UnixConnection, _ framing: (isChunked: Bool, length: Int)) {
        self.status = status
        self.connection = connection
        self.isChunked = framing.isChunked
        self.bytesLeft = framing.length
    }

    private static func framing(_ connection: inout UnixConnection) throws(StorageError) -> (
        isChunked: Bool, length: Int
    ) {
        var (isChunked, length) = (false, 0)
        while true {
            let line = try connection.line()
            if line.isEmpty { return (isChunked, length) }
            let parts = line.split(separator: ":", maxSplits: 1)
            guard parts.count == 2 else { continue }
            let value = parts[1].drop { $0 == " " }.lowercased()
            switch parts[0].lowercased() {
            case "content-length":
                guard let count = Int(value), (0...bodyBytesMax).contains(count) else { throw senseless() }
                length = count
            case "transfer-encoding": isChunked = value.hasSuffix("chunked")
            default: break
            }
        }
    }

    /// The next piece of the body as the server sent it; nil at its end.
    mutating func part() throws(StorageError) -> [UInt8]? {
        guard !isAtEnd else { return nil }
        guard isChunked else {
            isAtEnd = true
            return try connection.bytes(bytesLeft)
        }
        guard let count = Int(try connection.line().prefix { $0 != ";" }, radix: 16),
            (0...Self.bodyBytesMax).contains(count)
        else { throw Self.senseless() }
        let part = try connection.bytes(count)
        _ = try connection.line()
        isAtEnd = count == 0
        return isAtEnd ? nil : part
    }

    mutating func wholeBody() throws(StorageError) -> [UInt8] {
        var body: [UInt8] = []
        while let part = try part() {
            body.append(contentsOf: part)
            guard body.count <= Self.bodyBytesMax else { throw Self.senseless() }
        }
        return body
    }

    private static func senseless() -> StorageError {
        StorageError(.unavailable, "the server's answer makes no sense: is it of another version?")
    }
}
