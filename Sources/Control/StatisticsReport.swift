import NBD
public import ObjectStorage
public import StoreCore
public import Volumes

/// `GET /v1/stats` and `zerofs stats --json`: counts since the server started. Times are microseconds.
public struct StatisticsReport: Codable, Sendable, Equatable {
    public var version: String
    public var pid: Int32
    public var uptimeSeconds: Double
    public var memory: ProcessMemory
    /// Volumes and snapshots that were used since the server started, by name.
    public var exports: [ExportStatistics]
    public var store: StoreStatistics
    public var engine: EngineStatistics
}

public struct ExportStatistics: Codable, Sendable, Equatable {
    public var name: String
    public var connections: Int
    public var requestsInFlight: Int
    public var operations: [OperationFigures]
}

public struct OperationFigures: Codable, Sendable, Equatable {
    /// `read`, `write`, `flush`, `trim`, `write-zeroes`, `cache`, `block-status`.
    public var kind: String
    public var requests: UInt64
    public var failures: UInt64
    public var bytes: UInt64
    public var latency: LatencyFigures
}

public struct StoreStatistics: Codable, Sendable, Equatable {
    public var location: String
    public var requests: RequestCounts
    /// By kind of request, those that happened.
    public var latency: [String: LatencyFigures]
}

/// Microseconds.
public struct LatencyFigures: Codable, Sendable, Equatable {
    public var count: UInt64
    public var mean: Double
    public var p50: Double
    public var p99: Double
    public var p999: Double
    public var max: Double

    public init(_ histogram: LatencyHistogram) {
        func microseconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds / 100) / 10 }
        count = histogram.count
        mean = microseconds(histogram.mean)
        p50 = microseconds(histogram.p50)
        p99 = microseconds(histogram.p99)
        p999 = microseconds(histogram.p999)
        max = microseconds(histogram.max)
    }
}

extension StatisticsReport {
    public init(_ snapshot: ServerSnapshot) {
        version = snapshot.version
        pid = snapshot.pid
        uptimeSeconds = (snapshot.uptimeSeconds * 10).rounded() / 10
        memory = snapshot.memory
        engine = snapshot.engine
        store = StoreStatistics(
            location: snapshot.storeLocation, requests: snapshot.requests,
            latency: Dictionary(
                uniqueKeysWithValues: snapshot.requestLatencies.filter { $1.count > 0 }
                    .map { ($0.rawValue, LatencyFigures($1)) }))
        let connected = Dictionary(grouping: snapshot.connections, by: { $0.export ?? "" })
        let names = Set(snapshot.exports.keys).union(connected.keys).subtracting([""])
        exports = names.sorted().map { name in
            let connections = connected[name] ?? []
            return ExportStatistics(
                name: name, connections: connections.count,
                requestsInFlight: connections.reduce(0) { $0 + $1.requestsInFlight },
                operations: Self.operations(snapshot.exports[name] ?? [:]))
        }
    }

    private static func operations(_ figures: [NBDOperation: OperationStatistics]) -> [OperationFigures] {
        NBDOperation.allCases.compactMap { operation in
            guard let figure = figures[operation] else { return nil }
            return OperationFigures(
                kind: operation.label, requests: figure.requests, failures: figure.failures, bytes: figure.bytes,
                latency: LatencyFigures(figure.latency))
        }
    }
}

extension NBDOperation {
    /// As statistics and metrics name it.
    var label: String {
        switch self {
        case .read: "read"
        case .write: "write"
        case .flush: "flush"
        case .trim: "trim"
        case .writeZeroes: "write-zeroes"
        case .cache: "cache"
        case .blockStatus: "block-status"
        }
    }
}
