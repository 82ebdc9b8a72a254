import ObjectStorage
import StoreCore

/// Decides what happens to one volume's uploads: events in, actions out. No clock, no tasks, no store.
///
/// Life of an upload: waiting → attempting → durable, or attempting → resting → waiting … until it succeeds. It is
/// acknowledged when it and all before it are durable: the frontier. Two events end the queue for good: a fence (a
/// foreign object in an upload's place: another writer owns the log) and a stop. After either the frontier never moves
/// again, whatever attempts that were under way may still bring (R4).
struct UploadQueue {
    enum Action: Equatable {
        /// Ask for a slot and try; `isRetry` goes before first attempts, since the frontier waits for it.
        case attempt(UInt64, isRetry: Bool)
        /// Tell `rested` after this time.
        case rest(UInt64, Duration)
        /// Everything up to this number is durable.
        case advance(UInt64)
        /// Nothing will be acknowledged any more.
        case end(StorageError)

        static func == (a: Action, b: Action) -> Bool {
            switch (a, b) {
            case (.attempt(let n, let r), .attempt(let m, let s)): (n, r) == (m, s)
            case (.rest(let n, let d), .rest(let m, let e)): (n, d) == (m, e)
            case (.advance(let n), .advance(let m)): n == m
            case (.end(let e), .end(let f)): e.code == f.code && e.message == f.message
            default: false
            }
        }
    }

    private enum Phase { case waiting, attempting, resting, durable }
    private struct Upload {
        var phase = Phase.waiting
        var failures = 0
        let byteCount: Int
        /// Monotonic nanoseconds.
        let submittedAt: UInt64
    }

    private let policy: RetryPolicy
    private var random: SplitMix64
    /// Uploads after the frontier, oldest first: number `frontier + 1 + index`.
    private var uploads: [Upload] = []
    private(set) var frontier: UInt64 = 0
    /// The error of the attempt that failed last; nil once the frontier moves.
    private(set) var lastError: StorageError?
    /// Why nothing is acknowledged any more.
    private(set) var ending: StorageError?

    /// - Parameter seed: spreads the retries of many queues over time.
    init(policy: RetryPolicy, seed: UInt64) {
        self.policy = policy
        random = SplitMix64(seed: seed)
    }

    /// The number submitted last; 0 before the first.
    var submitted: UInt64 { frontier + UInt64(uploads.count) }
    var inFlight: Int { uploads.count { $0.phase == .attempting } }
    /// Bytes that are not yet acknowledged.
    var byteCount: Int { uploads.reduce(0) { $0 + $1.byteCount } }
    var oldestSubmittedAt: UInt64? { uploads.first?.submittedAt }

    mutating func submit(byteCount: Int, at now: UInt64) -> (UInt64, [Action]) {
        uploads.append(Upload(byteCount: byteCount, submittedAt: now))
        return (submitted, ending == nil ? [.attempt(submitted, isRetry: false)] : [])
    }

    /// A slot is free for this upload. False where it should not be tried any more: give the slot back.
    mutating func begin(_ number: UInt64) -> Bool {
        guard ending == nil else { return false }
        update(number, from: .waiting) { $0.phase = .attempting }
        return true
    }

    /// How often this upload was tried in vain.
    func failures(of number: UInt64) -> Int {
        number > frontier && number <= submitted ? uploads[Int(number - frontier - 1)].failures : 0
    }

    mutating func succeeded(_ number: UInt64) -> [Action] {
        guard ending == nil else { return [] }
        update(number, from: .attempting) { $0.phase = .durable }
        let count = uploads.prefix { $0.phase == .durable }.count
        guard count > 0 else { return [] }
        uploads.removeFirst(count)
        frontier += UInt64(count)
        lastError = nil
        return [.advance(frontier)]
    }

    /// An attempt failed, or its outcome is not known: the same bytes will be tried again.
    mutating func failed(_ number: UInt64, _ error: StorageError) -> [Action] {
        guard ending == nil else { return [] }
        lastError = error
        var failures = 0
        update(number, from: .attempting) {
            $0.phase = .resting
            $0.failures += 1
            failures = $0.failures
        }
        let delay = policy.delay(failures: failures, elapsed: .zero, using: &random) ?? policy.delayMax
        return [.rest(number, delay)]
    }

    mutating func rested(_ number: UInt64) -> [Action] {
        guard ending == nil else { return [] }
        update(number, from: .resting) { $0.phase = .waiting }
        return [.attempt(number, isRetry: true)]
    }

    /// Another object lies in an upload's place.
    mutating func fenced(_ error: StorageError) -> [Action] { end(error) }
    mutating func stop() -> [Action] { end(StorageError(.cancelled, "the uploads were stopped")) }

    private mutating func end(_ error: StorageError) -> [Action] {
        guard ending == nil else { return [] }
        ending = error
        return [.end(error)]
    }

    private mutating func update(_ number: UInt64, from phase: Phase, _ change: (inout Upload) -> Void) {
        precondition(number > frontier && number <= submitted, "upload \(number) is not under way")
        let index = Int(number - frontier - 1)
        precondition(uploads[index].phase == phase, "upload \(number) is \(uploads[index].phase), not \(phase)")
        change(&uploads[index])
    }
}
