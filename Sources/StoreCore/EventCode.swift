/// What an operator must see, each as one log line with a stable code: `event=fenced volume=pg-prod epoch=7 …`.
///
/// Codes are added, never renamed: alarms are built on them. docs/operations.md says of each what happened, whether
/// anything was lost, and what to do; a test keeps that list complete.
public enum EventCode: String, CaseIterable, Sendable {
    // MARK: Who owns a volume
    /// A newer writer owns the volume: this server acknowledges nothing of it any more.
    case fenced
    /// This server claimed a volume that another opening held unreleased.
    case takenOver = "taken-over"
    /// A client was refused an export that exists.
    case exportRefused = "export-refused"
    /// The volume serves no more, for a reason that has no code of its own.
    case volumeFailed = "volume-failed"
    /// A volume was closed in order, but not everything could be uploaded: it is in the journal.
    case closedDirty = "closed-dirty"

    // MARK: Who comes in
    /// A client was turned away before it saw any export: its TLS handshake failed, or it tried to get around it.
    case clientRefused = "client-refused"
    /// A client asked for an export that no rule lets it use, whether it exists or not.
    case accessDenied = "access-denied"

    // MARK: What a crash left
    /// Writes that a killed server had answered were taken from its journal.
    case journalReplayed = "journal-replayed"
    /// Writes that were answered, and not flushed, may be gone: clients that may have survived are refused.
    case writesLost = "writes-lost"
    /// An operator said that no client goes on with what it believes was written.
    case lossAccepted = "loss-accepted"
    /// A journal of an opening that lost the volume is kept: it may hold writes that the bucket lacks.
    case journalKept = "journal-kept"
    /// The local journal failed: the volume is uploaded and opened anew.
    case journalFailed = "journal-failed"

    // MARK: The store and the disk
    /// The object store does not answer, or refuses, since a moment.
    case storeAway = "store-away"
    /// It answers again.
    case storeBack = "store-back"
    /// A request to the store took very long.
    case storeSlow = "store-slow"
    /// An upload failed and is tried again until it succeeds.
    case uploadFailed = "upload-failed"
    /// A request of a client was answered with an error because the store did not answer within the deadline.
    case deadlinePassed = "deadline-passed"
    /// The local disk, or the store, has no room.
    case diskFull = "disk-full"

    // MARK: Damage
    /// Something in the store fails its hash, tag or format, or is missing.
    case corruptObject = "corrupt-object"
    /// The store shows an older state than this machine has seen.
    case storeRolledBack = "store-rolled-back"
    /// gc gave up, because of what it cannot read; it has deleted nothing since.
    case gcStopped = "gc-stopped"
    /// The wall clock was set. Sleep is no jump: the clock it is compared with counts that too.
    case clockJumped = "clock-jumped"

    /// How loud its line is.
    public var severity: EventSeverity {
        switch self {
        case .journalReplayed, .lossAccepted, .storeBack: .notice
        case .fenced, .volumeFailed, .writesLost, .journalFailed, .corruptObject, .storeRolledBack: .error
        default: .warning
        }
    }
}

public enum EventSeverity: Sendable { case notice, warning, error }
