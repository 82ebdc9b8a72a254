public import Codec
/// How a pass of gc goes about it. Nothing in here decides what is safe to delete.
public struct GCOptions: Sendable {
    /// How far back in time a branch can start: manifests and the log behind them stay that long.
    public var retention: Duration = .zero
    /// How long tombstone and fences of a deleted volume stay: a writer that was paused for longer and then goes on
    /// would not meet them.
    public var tombstoneRetention: Duration = .seconds(7 * 86_400)
    /// After this long the deletion of a volume that its deleter did not finish is finished by gc.
    public var deletionGrace: Duration = .seconds(3600)
    /// Leftovers of probes that are older go.
    public var probeRetention: Duration = .seconds(86_400)
    /// False: delete only, move nothing.
    public var repacks = true
    public var policy = CleaningPolicy()
    /// Segments under these data keys are repacked whatever their liveness, some at a time.
    public var rewrittenKeys: Set<DataKeyID> = []
    /// Bytes of such segments that one pass takes at most: their records are remembered meanwhile.
    public var rewriteBytesMax: UInt64 = 32 << 30

    public var requestsInFlightMax = 16
    /// Records that the search for victims remembers, 12 bytes each.
    public var recordsMax = 16 << 20
    /// Segments that one pass looks into.
    public var candidatesMax = 1 << 18
    /// Distinct maps that are merged to see what is hidden in them; of further ones every run counts as it stands.
    public var layoutsMergedMax = 64

    public init() {}
}

/// What the progress of a long operation is told: its phase, how far it is, and how far it goes where that is known.
public typealias CleanerProgress = @Sendable (_ phase: String, _ done: UInt64, _ total: UInt64?) -> Void
