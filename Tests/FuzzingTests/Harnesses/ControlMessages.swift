import Cleaner
import Glibc
import Logging
import NBD
import ObjectStorage
import StoreCore
import Volumes

@testable import Control

extension Harness {
    private static let httpWords = [
        "GET ", "POST ", "/healthz", "/metrics", "/v1/stats", "/v1/create", "/v1/gc", "/v1/list", " HTTP/1.1\r\n",
        "Host: localhost\r\n", "Host: [::1]:80\r\n", "Content-Type: application/json\r\n", "Content-Length: ",
        "Transfer-Encoding: chunked\r\n", "Connection: Upgrade\r\n", "\r\n\r\n", "{\"name\":\"", "\"sizeBytes\":",
        "0\r\n\r\n", "ffffffff\r\n", "-1", "9223372036854775807", "Expect: 100-continue\r\n", "%00", "?a=b",
    ]

    static let control: [Harness] = [
        Harness(
            // What a client of the control socket may send, to the server as it runs.
            name: "control-request", memory: { (64 << 20) + 4096 * $0 }, isSlow: true, words: httpWords,
            seeds: {
                [
                    "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
                    "GET /metrics HTTP/1.1\r\n\r\nGET /v1/stats HTTP/1.1\r\n\r\n",
                    post("create", #"{"name":"v","sizeBytes":1048576}"#), post("gc", #"{"dryRun":true}"#),
                    "POST /v1/list HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                        + "2\r\n{}\r\n0\r\n\r\n",
                ].map { Array($0.utf8) }
            },
            body: { input in
                let answer = try ControlTarget.shared.answer(to: input)
                require(
                    answer.isEmpty || answer.starts(with: "HTTP/1.".utf8),
                    "what is answered is HTTP: \(answer.prefix(80))")
            }),
        Harness(
            name: "control-command", memory: { (4 << 20) + 4096 * $0 }, words: httpWords,
            seeds: {
                [
                    #"{"name":"v","sizeBytes":1048576}"#, "{}", #"{"name":"v","newName":"w"}"#,
                    #"{"volume":"v","snapshot":"s"}"#, #"{"source":"v@s","newName":"w"}"#, #"{"dryRun":true}"#,
                    #"{"deep":true,"name":"v"}"#, #"{"name":"v","force":true}"#, #"{"name":"v","tag":"t"}"#,
                ].map { Array($0.utf8) }
            },
            body: { input in
                for command in CommandTable.all {
                    if let decoded = try? ControlJSON.decode(command, from: input) { try runEncoded(decoded) }
                }
            }),
        Harness(
            // What something that listens where a server should may answer a command line.
            name: "control-answer", memory: { (4 << 20) + 4096 * $0 }, words: httpWords + ["HTTP/1.1 200 OK\r\n"],
            seeds: {
                [
                    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                    "HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\n\r\n{\"error\":",
                ].map { Array($0.utf8) }
            },
            body: { input in
                let (near, far) = try SocketPair.make()
                try SocketPair.send(input, to: far)
                let connection = UnixConnection(owning: near)
                defer { close(far) }
                connection.setTimeout(seconds: 5)
                var exchange = try HTTPExchange("GET", "/", body: nil, over: connection, named: "socket")
                let body = try exchange.wholeBody()
                require(body.count <= input.count, "a body has no bytes that were not sent")
            }),
    ]

    /// What was decoded is encoded and decoded again, and the server's own checks run on it.
    private static func runEncoded(_ command: some Command) throws {
        let bytes = try ControlJSON.encode(command)
        require(
            try ControlJSON.encode(ControlJSON.decode(type(of: command), from: bytes)) == bytes,
            "a command is written as it was read")
        try wait {
            do { _ = try await command.run(on: NoStore(), progress: { _ in }) } catch let error as StorageError {
                require(error.code == .invalid || error.code == .notFound, "a command is refused as it should be")
            }
        }
    }
    private static func post(_ command: String, _ body: String) -> String {
        "POST /v1/\(command) HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }
}

/// A control server that runs as long as the process, and clients that send it anything.
private final class ControlTarget: Sendable {
    static let shared: ControlTarget = {
        do { return try ControlTarget() } catch { preconditionFailure("the server starts: \(error)") }
    }()
    private let path = "/tmp/zerofs-fuzz-\(getpid()).sock"
    private let server: ControlServer

    private init() throws {
        var log = Logger(label: "fuzz")
        log.logLevel = .critical
        let health = HealthReport(status: .ok, version: "1", pid: 1, store: "file:///s", nbd: [])
        let server = ControlServer(NoStore(), health: health, log: log) { Self.figures }
        self.server = server
        try wait { [path] in _ = try await server.start(on: .unix(path: path)) }
    }

    func answer(to input: [UInt8]) throws -> [UInt8] {
        let client = try UnixConnection(connectingTo: path)
        // A server that leaves a client waiting is a finding: an answer that does not come in time throws another code.
        client.setTimeout(seconds: 10)
        return try client.exchange(input)
    }

    private static var figures: ServerSnapshot {
        do {
            let engine = try ControlJSON.decode(
                EngineStatistics.self,
                from: Array(
                    #"{"volumes":[],"memoryCache":{"hits":3,"misses":1,"bytes":10,"bytesMax":100},"recordFetches":6}"#
                        .utf8))
            return ServerSnapshot(
                version: "1", pid: 1, uptimeSeconds: 1, memory: ProcessMemory(), storeLocation: "file:///s",
                requests: RequestCounts(), requestLatencies: [:], exports: [:], connections: [], engine: engine)
        } catch { preconditionFailure("the figures are what the engine says: \(error)") }
    }
}

extension UnixConnection {
    /// Sends all, says that no more comes, and reads to the end.
    fileprivate func exchange(_ input: [UInt8]) throws -> [UInt8] {
        let descriptor = self.descriptor
        do { try send(input) } catch {
            // The server may have heard enough.
            return []
        }
        shutdown(descriptor, Int32(SHUT_WR))
        var answer: [UInt8] = []
        while true {
            var part = [UInt8](repeating: 0, count: 16 << 10)
            let count = recv(descriptor, &part, part.count, 0)
            if count < 0, errno == EINTR { continue }
            require(count >= 0 || errno == ECONNRESET, "the server answers or closes: errno \(errno)")
            guard count > 0 else { return answer }
            answer += part.prefix(count)
        }
    }
}

private enum SocketPair {
    static func make() throws -> (Int32, Int32) {
        var pair: (Int32, Int32) = (0, 0)
        let code = withUnsafeMutableBytes(of: &pair) {
            socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, $0.baseAddress?.assumingMemoryBound(to: Int32.self))
        }
        guard code == 0 else { throw systemError("make a pair of sockets") }
        return pair
    }
    /// All of it, and the end: a few KiB fit into the socket.
    static func send(_ input: [UInt8], to descriptor: Int32) throws {
        let count = Glibc.send(descriptor, input, input.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
        guard count == input.count else { throw StorageError(.invalid, "the input is too long for a socket") }
        shutdown(descriptor, Int32(SHUT_WR))
    }
}

/// There is nothing in it.
private struct NoStore: StoreCommands {
    private var nothing: StorageError { StorageError(.notFound, "there is nothing here") }

    func create(_ name: String, sizeBytes: UInt64) async throws -> CreatedReport { throw nothing }
    func list() async throws -> [VolumeReport] { [] }
    func info(_ reference: VolumeReference) async throws -> VolumeDetails { throw nothing }
    func snapshot(_ volume: String, name: String?) async throws -> VolumeReport { throw nothing }
    func branch(_ source: VolumeReference, to new: String) async throws -> VolumeReport { throw nothing }
    func branch(fromJournal id: String, to new: String) async throws -> VolumeReport { throw nothing }
    func journals() async throws -> [JournalReport] { [] }
    func dropJournal(_ id: String, force: Bool) async throws -> JournalReport { throw nothing }
    func accept(_ name: String) async throws -> AcceptedReport { throw nothing }
    func rename(_ old: VolumeReference, to new: String) async throws -> VolumeReport { throw nothing }
    func resize(_ name: String, to bytes: UInt64, force: Bool) async throws -> VolumeReport { throw nothing }
    func rollback(_ reference: VolumeReference, force: Bool) async throws -> RollbackReport { throw nothing }
    func delete(_ reference: VolumeReference, force: Bool) async throws -> DeletedReport { throw nothing }
    func hold(_ reference: VolumeReference, tag: String) async throws {}
    func release(_ reference: VolumeReference, tag: String) async throws {}
    func collectGarbage(dryRun: Bool, progress: @escaping ProgressHandler) async throws -> GCReport { throw nothing }
    func verify(_ reference: VolumeReference?, deep: Bool, progress: @escaping ProgressHandler) async throws
        -> VerifyReport
    { throw nothing }
    func listKeys(counting: Bool, progress: @escaping ProgressHandler) async throws -> KeysReport { throw nothing }
    func rotateKeys(rewrite: Bool, progress: @escaping ProgressHandler) async throws -> RotationReport { throw nothing }
    func rewriteKeys(progress: @escaping ProgressHandler) async throws -> RewriteReport { throw nothing }
    func witness() async throws -> StoreWitness { throw nothing }
    func problems(since witness: StoreWitness) async throws -> [String: String] { throw nothing }
    func problems(of volume: String, belowEpoch epoch: UInt64) async throws -> [String: String] { throw nothing }
}
