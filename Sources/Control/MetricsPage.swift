import NBD
import ObjectStorage
import StoreCore
import Volumes

/// `GET /metrics`, built from a server's figures.
struct MetricsPage {
    let text: String

    init(_ snapshot: ServerSnapshot) {
        var page = PrometheusText()
        Self.exports(snapshot, &page)
        Self.store(snapshot, &page)
        Self.engine(snapshot.engine, &page)
        Self.process(snapshot, &page)
        text = page.text
    }

    private static func exports(_ snapshot: ServerSnapshot, _ page: inout PrometheusText) {
        let figures = snapshot.exports.sorted { $0.key < $1.key }.flatMap { name, operations in
            NBDOperation.allCases.compactMap { kind in
                operations[kind].map { (["kind": kind.label, "volume": name] as PrometheusText.Labels, $0) }
            }
        }
        page.counter(
            "zerofs_operations_total", "NBD requests answered, failed ones included.",
            figures.map { ($0, Double($1.requests)) })
        page.counter(
            "zerofs_operation_failures_total", "NBD requests answered with an error.",
            figures.map { ($0, Double($1.failures)) })
        page.counter(
            "zerofs_operation_bytes_total", "Bytes read, written or concerned by NBD requests that succeeded.",
            figures.map { ($0, Double($1.bytes)) })
        page.histogram(
            "zerofs_operation_seconds", "From an NBD request's arrival to its reply.",
            figures.map { ($0, $1.latency) })
        let connections = Dictionary(grouping: snapshot.connections) { $0.export ?? "" }.sorted { $0.key < $1.key }
        page.gauge(
            "zerofs_connections", "NBD clients that are connected; without a volume while they negotiate.",
            connections.map { (["volume": $0], Double($1.count)) })
        page.gauge(
            "zerofs_requests_in_flight", "NBD requests that wait for the volume or for their reply to be sent.",
            connections.map { (["volume": $0], Double($1.reduce(0) { $0 + $1.requestsInFlight })) })
    }

    private static func store(_ snapshot: ServerSnapshot, _ page: inout PrometheusText) {
        let requests = snapshot.requests
        page.counter(
            "zerofs_store_requests_total", "Requests to the object store, repeated ones included.",
            RequestKind.allCases.map { (["kind": $0.rawValue], Double(requests[$0])) })
        page.histogram(
            "zerofs_store_request_seconds", "How long requests to the object store took.",
            RequestKind.allCases.compactMap { kind in
                snapshot.requestLatencies[kind].map { (["kind": kind.rawValue], $0) }
            })
        page.counter("zerofs_store_retries_total", "Failed requests that were tried again.", Double(requests.retries))
        page.counter("zerofs_store_errors_total", "Requests that failed.", Double(requests.errors))
        page.counter(
            "zerofs_store_conflicts_total", "Creations that met another object.", Double(requests.conflicts))
        page.counter("zerofs_store_objects_deleted_total", "Objects deleted.", Double(requests.objectsDeleted))
        page.counter("zerofs_store_read_bytes_total", "Bytes of objects read.", Double(requests.bytesRead))
        page.counter(
            "zerofs_store_written_bytes_total", "Bytes of objects sent, for each attempt.",
            Double(requests.bytesWritten))
    }

    private static func engine(_ engine: EngineStatistics, _ page: inout PrometheusText) {
        typealias Cache = EngineStatistics.Cache
        let caches: [(String, Cache)] =
            [("memory", engine.memoryCache)] + (engine.diskCache.map { [("disk", $0)] } ?? [])
        func cache(_ value: (Cache) -> UInt64) -> [(PrometheusText.Labels, Double)] {
            caches.map { (["cache": $0], Double(value($1))) }
        }
        page.counter("zerofs_cache_hits_total", "Reads that a cache answered.", cache(\.hits))
        page.counter("zerofs_cache_misses_total", "Reads that it could not answer.", cache(\.misses))
        page.gauge("zerofs_cache_bytes", "What it holds.", cache(\.bytes))
        page.gauge("zerofs_cache_limit_bytes", "What it may hold.", cache(\.bytesMax))
        page.counter(
            "zerofs_record_fetches_total", "Ranged GETs for reads that no cache could answer.",
            Double(engine.recordFetches))

        func volume(_ value: (EngineStatistics.OpenVolume) -> Double) -> [(PrometheusText.Labels, Double)] {
            engine.volumes.map { (["volume": $0.name], value($0)) }
        }
        page.gauge(
            "zerofs_write_buffer_bytes", "Written data that is not yet in the store.",
            volume { Double($0.writeBufferBytes) })
        page.gauge(
            "zerofs_write_buffer_limit_bytes", "When it is full, writes wait.",
            volume { Double($0.writeBufferBytesMax) })
        page.gauge("zerofs_journal_bytes", "What the local journal still needs.", volume { Double($0.journalBytes) })
        page.gauge(
            "zerofs_journal_limit_bytes", "When it is full, writes wait.", volume { Double($0.journalBytesMax) })
        page.counter(
            "zerofs_journal_syncs_total", "fdatasync calls of the journal.", volume { Double($0.journalSyncs) })
        page.gauge("zerofs_uploads_waiting", "Segments that wait to be uploaded.", volume { Double($0.uploadsWaiting) })
        page.gauge("zerofs_uploads_in_flight", "Segments being uploaded.", volume { Double($0.uploadsInFlight) })
        page.gauge(
            "zerofs_upload_lag_seconds", "Age of the oldest upload that is not durable.", volume { $0.uploadLagSeconds }
        )
        page.gauge(
            "zerofs_volume_failed", "1 for a volume that serves no more; the log says why.",
            volume { $0.failure == nil ? 0 : 1 })
    }

    private static func process(_ snapshot: ServerSnapshot, _ page: inout PrometheusText) {
        let memory = snapshot.memory
        page.gauge("zerofs_build_info", "The version that runs.", [(["version": snapshot.version], 1)])
        page.gauge("zerofs_uptime_seconds", "Since the server started.", snapshot.uptimeSeconds)
        page.counter("process_cpu_seconds_total", "User and system time.", memory.cpuSeconds)
        page.gauge("process_resident_memory_bytes", "Resident memory.", Double(memory.residentBytes))
        page.gauge(
            "process_resident_memory_peak_bytes", "Most resident memory so far.", Double(memory.residentBytesPeak))
        page.gauge("process_virtual_memory_bytes", "Virtual memory.", Double(memory.virtualBytes))
        page.gauge("process_open_fds", "Open file descriptors.", Double(memory.openFiles))
    }
}
