@testable import Control
import StoreCore
import Testing

@Suite struct FiguresKeepTheirNames {
    /// The names are the contract of `stats --json` (docs/cli.md).
    @Test func statisticsAsJSON() throws {
        let json = String(decoding: try ControlJSON.encode(StatisticsReport(exampleSnapshot())), as: UTF8.self)
        #expect(
            json == """
                {"engine":{"memoryCache":{"bytes":10,"bytesMax":100,"hits":3,"misses":1},"recordFetches":6,"volumes":[{\
                "attachedCount":1,"epoch":3,"journalBytes":64,"journalBytesMax":128,"journalSyncs":9,"level0Runs":1,\
                "manifestNumber":12,"name":"pg-prod","uploadLagSeconds":0.25,"uploadsInFlight":2,"uploadsWaiting":1,\
                "writeBufferBytes":4096,"writeBufferBytesMax":8192}]},"exports":[{"connections":0,"name":"pg-prod",\
                "operations":[{"bytes":8192,"failures":1,"kind":"read","latency":{"count":3,"max":40,"mean":33.3,\
                "p50":40,"p99":40,"p999":40},"requests":3}],"requestsInFlight":0}],"memory":{"cpuSeconds":0,\
                "openFiles":0,"residentBytes":0,"residentBytesPeak":0,"virtualBytes":0},"pid":42,"store":{"latency":{\
                "create":{"count":5,"max":3000,"mean":3000,"p50":3000,"p99":3000,"p999":3000}},\
                "location":"file:///srv/store","requests":{"bytesRead":0,"bytesWritten":1048576,"conflicts":0,\
                "create":5,"delete":0,"errors":0,"get":0,"head":0,"list":0,"objectsDeleted":0,"rangedGet":0,\
                "retries":2}},"uptimeSeconds":12.3,"version":"1.2.3"}
                """)
    }

    @Test func metricsAsPrometheusReadsThem() {
        let lines = MetricsPage(exampleSnapshot()).text.split(separator: "\n")
        for line in [
            "# TYPE zerofs_operations_total counter", #"zerofs_operations_total{kind="read",volume="pg-prod"} 3"#,
            #"zerofs_operation_failures_total{kind="read",volume="pg-prod"} 1"#,
            #"zerofs_operation_bytes_total{kind="read",volume="pg-prod"} 8192"#,
            "# TYPE zerofs_operation_seconds histogram",
            #"zerofs_operation_seconds_bucket{kind="read",volume="pg-prod",le="1.6384e-05"} 0"#,
            #"zerofs_operation_seconds_bucket{kind="read",volume="pg-prod",le="3.2768e-05"} 1"#,
            #"zerofs_operation_seconds_bucket{kind="read",volume="pg-prod",le="6.5536e-05"} 3"#,
            #"zerofs_operation_seconds_bucket{kind="read",volume="pg-prod",le="+Inf"} 3"#,
            #"zerofs_operation_seconds_sum{kind="read",volume="pg-prod"} 0.0001"#,
            #"zerofs_operation_seconds_count{kind="read",volume="pg-prod"} 3"#,
            #"zerofs_store_requests_total{kind="create"} 5"#, "zerofs_store_retries_total 2",
            "zerofs_store_written_bytes_total 1048576",
            #"zerofs_cache_hits_total{cache="memory"} 3"#, #"zerofs_write_buffer_bytes{volume="pg-prod"} 4096"#,
            #"zerofs_journal_bytes{volume="pg-prod"} 64"#, #"zerofs_upload_lag_seconds{volume="pg-prod"} 0.25"#,
            #"zerofs_build_info{version="1.2.3"} 1"#,
        ] {
            #expect(lines.contains(Substring(line)), "\(line)")
        }
        let types = lines.filter { $0.hasPrefix("# TYPE") }.map { $0.split(separator: " ")[2] }
        #expect(Set(types).count == types.count, "each family stands in one piece")
    }

    @Test func labelsAreEscaped() {
        var text = PrometheusText()
        text.gauge("x", "Help.", [(["volume": "a\"b\\c\nd"], 1)])
        #expect(text.text == "# HELP x Help.\n# TYPE x gauge\nx{volume=\"a\\\"b\\\\c\\nd\"} 1\n")
    }

    @Test func theProcessKnowsItsMemory() {
        let memory = ProcessMemory.current()
        #expect(memory.residentBytes > 1 << 20)
        #expect(memory.residentBytesPeak >= memory.residentBytes / 2)
        #expect(memory.openFiles > 2)
    }
}

@Suite struct AddressesAreReadAsPeopleWriteThem {
    @Test func pathsAndHosts() throws {
        #expect(try ControlAddress(parsing: "/run/c.sock") == .unix(path: "/run/c.sock"))
        #expect(try ControlAddress(parsing: "c.sock") == .unix(path: "c.sock"))
        #expect(try ControlAddress(parsing: "127.0.0.1:80") == .tcp(host: "127.0.0.1", port: 80))
        #expect(try ControlAddress(parsing: "[::1]:0") == .tcp(host: "::1", port: 0))
        #expect("\(try HostAndPort(parsing: "[::1]:99"))" == "[::1]:99")
    }
    @Test(arguments: ["", "localhost", "localhost:", ":80", "a:b", "a:65536", "::1:80", "[]:80", "[::1:80"])
    func nonsense(text: String) {
        #expect(throws: StorageError.self) { try HostAndPort(parsing: text) }
    }
}
