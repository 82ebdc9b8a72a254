import Control
import Glibc
import Logging
import NBD
import ObjectStorage
import StoreCore
import Volumes

/// A directory that goes with the test.
final class TemporaryDirectory {
    let path: String
    init() {
        var template = Array("/tmp/zerofs-control-XXXXXX".utf8CString)
        precondition(mkdtemp(&template) != nil, "a temporary directory can be made")
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    deinit { remove(path) }

    private func remove(_ path: String) {
        if let directory = opendir(path) {
            while let entry = readdir(directory) {
                let name = withUnsafeBytes(of: entry.pointee.d_name) {
                    String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
                }
                if name != ".", name != ".." { remove("\(path)/\(name)") }
            }
            closedir(directory)
            rmdir(path)
        } else {
            unlink(path)
        }
    }
}

/// A control server over a scripted store.
struct TestServer {
    let store = ScriptedStore()
    let server: ControlServer

    init() {
        var log = Logger(label: "test")
        log.logLevel = .critical
        server = ControlServer(
            store,
            health: HealthReport(
                status: .ok, version: "1.2.3", pid: 42, store: "file:///srv/store", nbd: ["127.0.0.1:10809"]),
            log: log
        ) { exampleSnapshot() }
    }

    /// Runs `body` with a client on a socket file.
    static func run(
        path: String? = nil, _ body: (TestServer, ControlClient, String) async throws -> Void
    ) async throws {
        let directory = TemporaryDirectory()
        let path = path ?? "\(directory.path)/control.sock"
        let test = TestServer()
        _ = try await test.server.start(on: .unix(path: path))
        do { try await body(test, ControlClient(path: path), path) } catch {
            await test.server.stop()
            throw error
        }
        await test.server.stop()
        withExtendedLifetime(directory) {}
    }
}

/// Figures of a server that did little.
func exampleSnapshot() -> ServerSnapshot {
    var read = OperationStatistics()
    read.requests = 3
    read.failures = 1
    read.bytes = 8192
    read.latency.record(nanoseconds: 20_000)
    read.latency.record(nanoseconds: 40_000, times: 2)
    var requests = RequestCounts()
    requests.create = 5
    requests.retries = 2
    requests.bytesWritten = 1 << 20
    var latency = LatencyHistogram()
    latency.record(nanoseconds: 3_000_000, times: 5)
    let engine = #"""
        {"volumes":[{"name":"pg-prod","epoch":3,"attachedCount":1,"writeBufferBytes":4096,"writeBufferBytesMax":8192,
         "uploadsWaiting":1,"uploadsInFlight":2,"uploadLagSeconds":0.25,"journalBytes":64,"journalBytesMax":128,
         "journalSyncs":9,"level0Runs":1,"manifestNumber":12}],
         "memoryCache":{"hits":3,"misses":1,"bytes":10,"bytesMax":100},"recordFetches":6}
        """#
    do {
        return ServerSnapshot(
            version: "1.2.3", pid: 42, uptimeSeconds: 12.34, memory: ProcessMemory(),
            storeLocation: "file:///srv/store",
            requests: requests, requestLatencies: [.create: latency], exports: ["pg-prod": [.read: read]],
            connections: [], engine: try ControlJSON.decode(from: Array(engine.utf8)))
    } catch { preconditionFailure("the example is what the engine says: \(error)") }
}
