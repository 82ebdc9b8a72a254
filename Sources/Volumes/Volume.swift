import Logging
import BlockMap
import Cache
import Codec
import Journal
import SegmentLog
import Snapshots
public import StoreCore
import Synchronization
import Uploader

/// A volume opened for writing: the engine.
///
/// A write: journal → write buffer → reply. A full or flushed buffer is sealed, encoded as a segment by the log task,
/// uploaded, and dropped once durable; its extents enter the memtable when they are known. Every 64 MiB of log the
/// memtable is frozen exactly behind a segment, becomes a run, and a manifest commit (checkpoint) names it.
/// A read looks through active buffer, sealed buffers, memtables and runs, newest first.
///
/// Invariants
/// - Order of `nextWrite`, of journal entries, of effects in the active buffer and of the log are one and the same
///   (R2): all are advanced in one critical section of `state`.
/// - `sealed` is oldest first; its members leave from the front, when durable. The memtables hold exactly the segments
///   after the manifest's covered position that are encoded. So a block is never in no layer.
/// - A frozen memtable leaves only after the manifest that covers it was committed and its map is `layout`.
/// - `failure` is set once and never cleared; after it nothing is acknowledged (R4).
///
/// Locks: `state` guards everything mutable here, for microseconds, never across I/O (the journal's append is a copy
/// into the page cache). `manifestLock` orders manifest commits; whoever holds it may take `state`, never the reverse.
public final class Volume: BlockDevice {
    public let name: String
    public let summary: String
    public let isReadOnly = false

    let id: VolumeID
    let epoch: Epoch
    let settings: VolumeSettings
    let context: VolumeContext
    let manifests: ManifestLog
    /// The journal, or the mark, that proves this opening to the next one in this data directory.
    let trace: OpeningTrace
    let uploader: Uploader
    let state: Mutex<EngineState>
    let manifestLock = AsyncLock()
    let sealedBuffers: AsyncStream<SealedBuffer>.Continuation
    let frozenMemtables: AsyncStream<FrozenMemtable>.Continuation
    /// Orders who removes the journals that were replayed.
    let replayedLock = AsyncLock()
    /// Orders who notes that clients are served.
    let answeringLock = AsyncLock()
    let rate = EventRate()
    let clock = ClockWatch()
    /// A checkpoint may have made a compaction due.
    let compactions: AsyncStream<Void>.Continuation
    /// Encoding, checkpointing, compaction and the removal of replayed journals; they end with `close` or `abandon`.
    let tasks = Mutex<[Task<Void, Never>]>([])
    /// Of epochs before this one, found when the volume was opened; the first checkpoint records them.
    let closings: [ClosedEpoch]

    /// Starts the tasks of a volume that `open` has claimed and recovered.
    init(
        name: String, manifest: Manifest, recovered: EngineState, settings: VolumeSettings, context: VolumeContext,
        manifests: ManifestLog, trace: OpeningTrace, uploader: Uploader, closings: [ClosedEpoch]
    ) {
        self.name = name
        self.summary = "zerofs volume \(name)"
        self.id = manifest.volume
        self.epoch = manifest.epoch
        self.settings = settings.sound
        self.context = context
        self.manifests = manifests
        self.trace = trace
        self.uploader = uploader
        self.closings = closings
        self.state = Mutex(recovered)
        let (buffers, buffersEnd) = AsyncStream.makeStream(of: SealedBuffer.self)
        let (memtables, memtablesEnd) = AsyncStream.makeStream(of: FrozenMemtable.self)
        self.sealedBuffers = buffersEnd
        self.frozenMemtables = memtablesEnd
        let (compactionsDue, compactionsEnd) = AsyncStream.makeStream(
            of: Void.self, bufferingPolicy: .bufferingNewest(1))
        self.compactions = compactionsEnd
        uploader.onAdvance { [weak self] in self?.becameDurable(upTo: $0) }
        uploader.onFailure { [weak self] in self?.uploadFailed($0) }
        // A fence ends the service of this writer for good (R4).
        uploader.onEnd { [weak self] in self?.fail($0) }
        tasks.withLock {
            $0 = [
                Task { [weak self] in for await buffer in buffers { await self?.encode(buffer) } },
                Task { [weak self] in for await memtable in memtables { await self?.checkpoint(memtable) } },
                Task { [weak self] in for await _ in compactionsDue { await self?.compact() } },
            ]
        }
    }

    var journal: Journal? { trace.journal }
    public var size: UInt64 { state.withLock { $0.sizeBytes } }
    /// Why nothing is acknowledged any more; nil while the volume is sound.
    var failure: StorageError? { state.withLock { $0.failure } }
    var loss: LossRecord? { state.withLock { $0.loss } }
    var ousted: OwnerToken? { state.withLock { $0.ousted } }
    /// Client connections.
    var attachedCount: Int { state.withLock { $0.attachedCount } }
}

/// Everything mutable of a volume.
struct EngineState {
    var sizeBytes: UInt64
    var active: WriteBuffer
    var sealed: [SealedBuffer] = []
    /// Of encoded segments not yet frozen.
    var memtable: Memtable
    var frozen: [FrozenMemtable] = []
    var layout: MapLayout
    var manifestNumber: UInt64
    /// Of the manifest that released the volume; its map may be another than the one here.
    var releasedNumber: UInt64?
    /// The last encoded segment.
    var log: LogState
    /// The last frozen one; equal to `log` when the memtable holds nothing that a checkpoint would cover.
    var frozenLog: LogState
    /// Log since the last freeze, for when to freeze next.
    var unfrozenBytes = 0
    var unfrozenSegments = 0
    var nextWrite: WriteSequence
    var nextPosition: LogPosition
    var nextOrdinal: UInt64 = 1
    /// Memory held by `active`, by `sealed` and by their segments until these are durable.
    var bufferedBytes = 0
    var locks = RangeLocks()
    var readAhead = ReadAhead()
    /// Tasks that wait for room, for a range or for a seal; all wake and look again.
    var waiters = Waiters()
    /// Counts what waiters wait for, so that none misses it.
    var movements: UInt64 = 0
    var isTimerArmed = false
    /// Waiting for room in the journal; cancelled when the volume fails.
    var roomWaits: [UInt64: Task<Void, any Error>] = [:]
    var lastRoomWait: UInt64 = 0
    var attachedCount = 0
    /// The data directory tells that clients are served.
    var isAnswering = false
    /// Writes that were answered may be gone, and nobody has accepted that yet.
    var loss: LossRecord?
    /// Older journals, whose writes are on their way into the bucket.
    var replayed: [JournalGeneration] = []
    /// Who held the volume unreleased until this opening, or one that broke off before it, took it over.
    var ousted: OwnerToken?
    var isClosing = false
    var isRetiringJournal = false
    /// Runs under these data keys are merged away, whether that is due or not.
    var leftKeys: Set<DataKeyID> = []
    var failure: StorageError?
}
