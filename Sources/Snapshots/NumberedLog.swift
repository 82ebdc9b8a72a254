import ObjectStorage
import StoreCore
import Synchronization

/// One version of something that moves on by number.
protocol NumberedVersion: Sendable {
    var number: UInt64 { get }
    /// Ids of the commits that led here, the newest last, at most `Limits.recentOperationsMax`; one for each number.
    var recentOperations: [OperationID] { get }
    /// Every number from here on is still in the store, as far as this version tells; nil where it does not know.
    var numbersKeptFrom: UInt64? { get }
}

/// A version that was made and not yet created, and its bytes. Every try sends these same bytes.
struct VersionDraft<Version: NumberedVersion>: Sendable {
    var version: Version
    var bytes: [UInt8]
}

/// What to do on top of a base.
enum CommitDecision<Version: NumberedVersion>: Sendable {
    case write(VersionDraft<Version>)
    /// The base is what the caller wants already.
    case nothing
    /// What was decided rests on a base that may be old: look for the newest, and decide again.
    case lookFirst
}

/// The primitive by which manifests and the catalog advance: create number n+1 unless it exists, exactly once.
///
/// Each version carries the ids of recent commits. Who wins, meets a rival, or gets no clear answer lists, and looks
/// for its own id in the newest version: found means done, else it decides again on that version. To win is not enough,
/// because a writer that stalled can win a number that was reached, passed and deleted; and to lose is not enough
/// either, because the answer to the own creation may have been lost and a rival may have built on it. Numbers are
/// deleted only from below, so the newest one is always part of the history. No step depends on a clock.
///
/// Thread-safe; concurrent commits of one log meet as rivals do.
final class NumberedLog<Version: NumberedVersion>: Sendable {
    private struct Cached {
        var version: Version
        /// When it was last known to be the newest.
        var checked: UInt64
    }

    let objects: NumberedObjects
    let time: any TimeSource
    /// How old the cached version may be for a commit to start from it without a LIST; nil: any age. It decides nothing
    /// but the cost: on a base that is far behind, a stalled writer's doubt would be normal instead of absurdly rare.
    private let baseAgeMax: Duration?
    private let load: @Sendable (UInt64, [UInt8], Version?) async throws -> Version
    private let cached = Mutex<Cached?>(nil)

    init(
        _ objects: NumberedObjects, time: any TimeSource, baseAgeMax: Duration?,
        load: @escaping @Sendable (UInt64, [UInt8], Version?) async throws -> Version
    ) {
        self.objects = objects
        self.time = time
        self.baseAgeMax = baseAgeMax
        self.load = load
    }

    /// The last version that this log has seen, without asking the store.
    var lastSeen: Version? { cached.withLock { $0?.version } }

    /// The newest version; one LIST, and one GET if it moved on. nil where there is none.
    func newest() async throws -> Version? {
        while true {
            let known = lastSeen
            guard let number = try await objects.newestNumber() else {
                if let known { throw wentBack(from: known.number, to: 0) }
                return nil
            }
            if let version = try await read(number, after: known) { return version }
        }
    }

    /// The version of a number that was just listed as the newest; nil when it is worth listing again.
    /// - Parameter known: what was known before the LIST, which may not show less.
    private func read(_ number: UInt64, after known: Version?) async throws -> Version? {
        if let known, number < known.number { throw wentBack(from: known.number, to: number) }
        if let cached = lastSeen, cached.number == number {
            remember(cached)
            return cached
        }
        var lost: (any Error)?
        if let bytes = try await objects.read(number) {
            do {
                let version = try await load(number, bytes, known)
                remember(version)
                return version
            } catch  where error.storageCode == .notFound {
                // A part of it is gone, which happens only after a newer version took its place.
                lost = error
            }
        }
        if try await objects.newestNumber() == number { throw objects.missing(number, lost) }
        return nil
    }

    private func remember(_ version: Version) {
        let now = time.monotonicNanoseconds()
        cached.withLock { cached in
            guard cached.map({ $0.version.number <= version.number }) ?? true else { return }
            cached = Cached(version: version, checked: now)
        }
    }
    private func wentBack(from known: UInt64, to number: UInt64) -> StorageError {
        .corrupt(
            objects.prefix, "the store shows an older version than it did: the bucket was rolled back",
            expected: "number \(known) or higher", actual: number == 0 ? "none" : "number \(number)")
    }

    /// Commits what `decide` makes of the newest version. `decide` is asked again whenever its base turns out not to be
    /// the newest; it is told whether the base was the newest at some moment since the commit began.
    ///
    /// Returns the version that was committed, or the base for `.nothing`. Throws what `decide` throws; `unavailable`
    /// when the outcome stays open: then the commit may have happened, or may happen later.
    func commit(
        _ operation: OperationID, decide: (Version?, Bool) async throws -> CommitDecision<Version>
    ) async throws -> Version? {
        var (base, isCurrent) = try await startingBase()
        while true {
            switch try await decide(base, isCurrent) {
            case .nothing: return base
            case .lookFirst: (base, isCurrent) = (try await newest(), true)
            case .write(let draft):
                precondition(draft.version.number == (base?.number ?? 0) + 1, "a commit creates the next number")
                precondition(draft.version.recentOperations.last == operation, "a version carries its commit's id")
                switch try await publish(draft, operation) {
                case .done: return draft.version
                case .lost(let newest): (base, isCurrent) = (newest, true)
                case .open(let newest):
                    // What decides against the commit on the newest version is the better answer.
                    _ = try await decide(newest, true)
                    throw inDoubt(draft.version.number, nil)
                }
            }
        }
    }

    /// Creates number 1 where no rival can be, because its prefix holds a fresh random id: no LIST is needed.
    func createFirst(_ draft: VersionDraft<Version>) async throws {
        precondition(draft.version.number == 1, "the first number is 1")
        var failures = 0
        while true {
            do {
                if try await objects.create(1, draft.bytes) == .exists, try await objects.read(1) != draft.bytes {
                    throw StorageError(.alreadyExists, "\(objects.key(1)) exists already: a new volume needs a new id")
                }
                return remember(draft.version)
            } catch  where error.storageCode == .unavailable {
                failures += 1
                guard failures < Self.failuresMax else { throw inDoubt(1, error) }
                try await time.sleep(for: .milliseconds(20) * (1 << failures))
            }
        }
    }

    private func startingBase() async throws -> (Version?, isCurrent: Bool) {
        let now = time.monotonicNanoseconds()
        let known = cached.withLock { $0 }
        guard let known else { return (try await newest(), true) }
        if let baseAgeMax, .nanoseconds(Int64(clamping: now &- known.checked)) > baseAgeMax {
            return (try await newest(), true)
        }
        return (known.version, false)
    }

    func inDoubt(_ number: UInt64, _ cause: (any Error)?) -> StorageError {
        StorageError(
            .unavailable,
            "the commit of \(objects.key(number)) may or may not have taken effect: look before trying again",
            cause: cause)
    }
}

extension NumberedLog {
    fileprivate enum Publication {
        case done
        /// It has no effect and never will.
        case lost(newest: Version)
        /// More commits than a version remembers went by meanwhile.
        case open(newest: Version)
    }

    /// A few tries of our own: the store below has tried for long when it is a `RetryingStore`.
    fileprivate static var failuresMax: Int { 6 }

    /// Creates the draft's number and finds out what became of it.
    private func publish(_ draft: VersionDraft<Version>, _ operation: OperationID) async throws -> Publication {
        let number = draft.version.number
        var outcome: CreateOutcome?
        var failures = 0
        while true {
            do {
                if outcome == nil { outcome = try await objects.create(number, draft.bytes) }
                if let end = try await resolve(draft, operation, outcome, mayHaveHappened: failures > 0) { return end }
                // No answer, and no such object: it did not happen, or will. The same bytes again.
                failures += 1
            } catch  where error.storageCode == .unavailable {
                failures += 1
                guard failures < Self.failuresMax else { throw inDoubt(number, error) }
            } catch  where failures > 0 || outcome != nil {
                throw error.storageCode == .corrupt ? error : inDoubt(number, error)
            }
            do {
                try await time.sleep(for: .milliseconds(20) * (1 << failures))
            } catch {
                throw inDoubt(number, error)
            }
        }
    }

    /// Looks what the newest version says; nil when the creation must be sent again.
    private func resolve(
        _ draft: VersionDraft<Version>, _ operation: OperationID, _ outcome: CreateOutcome?, mayHaveHappened: Bool
    ) async throws -> Publication? {
        let number = draft.version.number
        while true {
            let known = lastSeen
            guard let newestNumber = try await objects.newestNumber(), newestNumber >= number else {
                guard outcome == nil else { throw objects.missing(number) }
                return nil
            }
            if newestNumber == number, outcome == .created {
                remember(draft.version)
                return .done
            }
            guard let newest = try await read(newestNumber, after: known) else { continue }
            if newest.recentOperations.contains(operation) { return .done }
            let wasRefused = outcome == .exists && !mayHaveHappened
            let isRemembered = newest.number - number < UInt64(Limits.recentOperationsMax)
            if wasRefused || isRemembered { return .lost(newest: newest) }
            switch try await isOurs(draft, asOf: newest) {
            case true?: return .done
            case false?: return .lost(newest: newest)
            case nil: return .open(newest: newest)
            }
        }
    }

    /// More numbers went by than a version remembers: the number itself tells, if it was never deleted.
    private func isOurs(_ draft: VersionDraft<Version>, asOf newest: Version) async throws -> Bool? {
        guard let kept = newest.numbersKeptFrom, draft.version.number >= kept else { return nil }
        return try await objects.read(draft.version.number).map { $0 == draft.bytes }
    }
}
