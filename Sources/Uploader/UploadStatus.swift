public import StoreCore

/// One volume's uploads, as people and metrics see them.
public struct UploadStatus: Sendable {
    /// Everything up to this number is durable.
    public var frontier: UInt64
    /// The number submitted last.
    public var submitted: UInt64
    /// Attempts under way.
    public var inFlight: Int
    /// Bytes submitted and not yet acknowledged.
    public var queuedBytes: Int
    /// How long the oldest upload that is not yet acknowledged has been waiting; zero where there is none.
    public var lag: Duration
    /// Of the attempt that failed last; nil as soon as the frontier has moved since.
    public var lastError: StorageError?
    /// Why nothing will be acknowledged any more: `fenced`, or `cancelled` after a stop.
    public var ending: StorageError?

    public var uploadsWaiting: UInt64 { submitted - frontier }
}
