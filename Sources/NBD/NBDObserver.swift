/// What is counted apart.
public enum NBDOperation: Int, Sendable, CaseIterable {
    case read, write, flush, trim, writeZeroes, cache, blockStatus
}

/// Where a server reports what it served, for metrics.
public protocol NBDObserver: Sendable {
    /// The recorder of an export; asked once for each connection.
    func recorder(for export: String) -> any NBDRecorder
}

/// Takes the figures of one export. Called from connections' threads and tasks, many at once: make it short.
public protocol NBDRecorder: AnyObject, Sendable {
    /// - Parameters:
    ///   - requests: how many were answered, failed ones included; several when a batch of equals was.
    ///   - failures: how many of them with an error.
    ///   - bytes: read, written or concerned, by all of them that succeeded.
    ///   - nanoseconds: that each of them took, from its arrival to its reply.
    func completed(_ operation: NBDOperation, requests: Int, failures: Int, bytes: UInt64, nanoseconds: UInt64)
}

extension NBDOperation {
    init?(_ command: Command) {
        switch command {
        case .read: self = .read
        case .write: self = .write
        case .flush: self = .flush
        case .trim: self = .trim
        case .writeZeroes: self = .writeZeroes
        case .cache: self = .cache
        case .blockStatus: self = .blockStatus
        case .disconnect: return nil
        }
    }
}
