public import StoreCore
import Synchronization

/// Figures of one kind of operation of one export, since the server started.
public struct OperationStatistics: Sendable, Equatable {
    public var requests: UInt64 = 0
    public var failures: UInt64 = 0
    public var bytes: UInt64 = 0
    /// From arrival to reply.
    public var latency = LatencyHistogram()
    public init() {}
}

/// An observer that keeps counts and latencies by export and operation. Thread-safe.
public final class NBDStatistics: NBDObserver {
    private let exports = Mutex<[String: ExportRecorder]>([:])

    public init() {}

    public func recorder(for export: String) -> any NBDRecorder {
        exports.withLock { exports in
            if let known = exports[export] { return known }
            let recorder = ExportRecorder()
            exports[export] = recorder
            return recorder
        }
    }

    /// A copy of the figures: by export, then by operation; operations that never happened are absent.
    public func snapshot() -> [String: [NBDOperation: OperationStatistics]] {
        exports.withLock { $0 }.mapValues { $0.snapshot() }
    }

    /// Forgets an export that was deleted; a connection that still uses it counts on, unseen.
    public func forget(export: String) {
        exports.withLock { $0[export] = nil }
    }
}

private final class ExportRecorder: NBDRecorder {
    private let operations = Mutex([OperationStatistics?](repeating: nil, count: NBDOperation.allCases.count))

    func completed(_ operation: NBDOperation, requests: Int, failures: Int, bytes: UInt64, nanoseconds: UInt64) {
        operations.withLock { operations in
            if operations[operation.rawValue] == nil { operations[operation.rawValue] = OperationStatistics() }
            operations[operation.rawValue]?.requests += UInt64(requests)
            operations[operation.rawValue]?.failures += UInt64(failures)
            operations[operation.rawValue]?.bytes &+= bytes
            operations[operation.rawValue]?.latency.record(nanoseconds: nanoseconds, times: UInt64(requests))
        }
    }

    func snapshot() -> [NBDOperation: OperationStatistics] {
        let operations = operations.withLock { $0 }
        var result: [NBDOperation: OperationStatistics] = [:]
        for operation in NBDOperation.allCases { result[operation] = operations[operation.rawValue] }
        return result
    }
}
