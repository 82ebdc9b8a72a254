import Control
import ObjectStorage
import StoreCore
import Volumes

enum StatisticsPage {
    static func lines(_ report: StatisticsReport) -> [String] {
        let memory = ByteSize.format(report.memory.residentBytes)
        let server =
            "zerofs \(report.version), process \(report.pid), up \(time(report.uptimeSeconds)), \(memory) of memory"
        return [server, ""] + operations(report) + [""] + volumes(report.engine) + store(report.store) + [""]
            + caches(report.engine)
    }

    private static func operations(_ report: StatisticsReport) -> [String] {
        guard report.exports.contains(where: { !$0.operations.isEmpty }) else { return ["no NBD requests yet"] }
        var table = TextTable([
            ("VOLUME", .left), ("OPERATION", .left), ("COUNT", .right), ("ERRORS", .right), ("BYTES", .right),
            ("MEAN", .right), ("P50", .right), ("P99", .right), ("P99.9", .right), ("MAX", .right),
        ])
        for export in report.exports {
            for figure in export.operations {
                table.add(
                    [
                        export.name, figure.kind, "\(figure.requests)", "\(figure.failures)",
                        ByteSize.format(figure.bytes),
                    ]
                        + latencies(figure.latency))
            }
        }
        return table.lines
    }

    private static func volumes(_ engine: EngineStatistics) -> [String] {
        guard !engine.volumes.isEmpty else { return [] }
        var table = TextTable([
            ("OPEN VOLUME", .left), ("CLIENTS", .right), ("WRITE BUFFER", .right), ("JOURNAL", .right),
            ("UPLOADING", .right), ("WAITING", .right), ("LAG", .right), ("STATE", .left),
        ])
        for volume in engine.volumes {
            table.add([
                volume.name, "\(volume.attachedCount)", part(volume.writeBufferBytes, volume.writeBufferBytesMax),
                part(volume.journalBytes, volume.journalBytesMax), "\(volume.uploadsInFlight)",
                "\(volume.uploadsWaiting)", time(volume.uploadLagSeconds), volume.failure ?? "sound",
            ])
        }
        return table.lines + [""]
    }

    private static func store(_ store: StoreStatistics) -> [String] {
        let requests = store.requests
        var table = TextTable([
            ("STORE REQUEST", .left), ("COUNT", .right), ("MEAN", .right), ("P50", .right), ("P99", .right),
            ("P99.9", .right), ("MAX", .right),
        ])
        for kind in RequestKind.allCases where requests[kind] > 0 {
            let latency = store.latency[kind.rawValue].map(latencies) ?? Array(repeating: "-", count: 5)
            table.add([kind.rawValue, "\(requests[kind])"] + latency)
        }
        let total = """
            \(store.location): \(ByteSize.format(requests.bytesWritten)) sent, \
            \(ByteSize.format(requests.bytesRead)) read, \(requests.retries) retries, \(requests.errors) errors, \
            \(requests.objectsDeleted) objects deleted
            """
        return table.lines + [total]
    }

    private static func caches(_ engine: EngineStatistics) -> [String] {
        func line(_ name: String, _ cache: EngineStatistics.Cache) -> String {
            let total = cache.hits + cache.misses
            let share = total == 0 ? "-" : "\(Int((Double(cache.hits) / Double(total) * 100).rounded())) %"
            let used = part(cache.bytes, cache.bytesMax)
            return "\(name): \(used) used, \(cache.hits) hits, \(cache.misses) misses (\(share))"
        }
        return [line("memory cache", engine.memoryCache)] + (engine.diskCache.map { [line("disk cache", $0)] } ?? [])
            + ["fetched from the store: \(engine.recordFetches) ranged GETs"]
    }

    private static func part(_ bytes: UInt64, _ most: UInt64) -> String {
        "\(ByteSize.format(bytes))/\(ByteSize.format(most))"
    }
    private static func latencies(_ figures: LatencyFigures) -> [String] {
        [figures.mean, figures.p50, figures.p99, figures.p999, figures.max].map { time($0 / 1e6) }
    }

    /// `250us`, `3.1ms`, `12.5s`, `3h05m`.
    static func time(_ seconds: Double) -> String {
        func tenths(_ value: Double) -> String {
            value >= 100 ? "\(Int(value.rounded()))" : "\((value * 10).rounded() / 10)"
        }
        switch seconds {
        case ..<0.001: return "\(Int((seconds * 1e6).rounded()))us"
        case ..<1: return "\(tenths(seconds * 1e3))ms"
        case ..<120: return "\(tenths(seconds))s"
        case ..<7200: return "\(Int(seconds) / 60)m\(Int(seconds) % 60)s"
        default: return "\(Int(seconds) / 3600)h\(Int(seconds) / 60 % 60)m"
        }
    }
}
