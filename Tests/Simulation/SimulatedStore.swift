public import ObjectStorage
public import StoreCore

/// A bucket as one process reaches it: each request takes effect at one virtual time and is answered at another, and in
/// between, before or after anything may go wrong.
///
/// A request that was sent belongs to the bucket: when its process is killed it may still happen, now or much later.
public final class SimulatedStore: ObjectStore, @unchecked Sendable {
    public let location = "simulated"
    public let bucket: SimulatedBucket
    private let process: SimulatedProcess
    private var scheduler: Scheduler { bucket.scheduler }
    /// Effects that did not happen yet.
    private var pending: [Int: Pending] = [:]
    private var lastPending = 0

    private struct Pending {
        var timer: Scheduler.TimerID
        var effect: () -> Void
    }

    /// How long a requester waits for an answer.
    private static let timeout: UInt64 = 30_000_000_000

    public init(_ bucket: SimulatedBucket, process: SimulatedProcess) {
        self.bucket = bucket
        self.process = process
        process.onEnd { self.settle() }
    }

    public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        let call = StoreCall(
            kind: range == nil ? .get : .rangedGet, keys: [key], process: process.name, sent: scheduler.steps)
        return try await perform(call) { [bucket] in
            guard let bytes = bucket.objects[key]?.bytes else {
                throw StorageError(.notFound, "there is no object \(key)")
            }
            guard let range else { return bytes }
            guard range.lowerBound < UInt64(bytes.count) else {
                throw StorageError(.invalid, "range \(range) lies beyond the end of object \(key)")
            }
            return Array(bytes[Int(range.lowerBound)..<Int(min(range.upperBound, UInt64(bytes.count)))])
        } damage: { fault, bytes in
            self.damage(bytes, fault)
        }
    }
    public func head(_ key: ObjectKey) async throws -> ObjectInfo? {
        let call = StoreCall(kind: .head, keys: [key], process: process.name, sent: scheduler.steps)
        return try await perform(call) { [bucket] in bucket.info(key) }
    }
    public func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        let call = StoreCall(
            kind: .create, keys: [key], bytes: bytes, process: process.name, sent: scheduler.steps)
        bucket.onSending?(key, bytes)
        return try await perform(call) { [bucket, process] in bucket.create(key, bytes, by: process) }
    }
    /// Not one moment: what comes or goes meanwhile is in it or not, key by key.
    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        let limit = min(limit, bucket.faults.listPageMax)
        guard scheduler.chance(bucket.faults.tearsLists),
            let middle = bucket.anyKey(prefix: prefix, after: after)
        else {
            return try await listAtOnce(prefix: prefix, after: after, limit: limit)
        }
        var page = try await listAtOnce(prefix: prefix, after: after, limit: limit)
        page.objects.removeAll { $0.key > middle }
        guard page.objects.count < limit else { return page }
        bucket.count("LIST torn")
        let rest = try await listAtOnce(prefix: prefix, after: middle, limit: limit - page.objects.count)
        return ObjectPage(objects: page.objects + rest.objects, isTruncated: rest.isTruncated)
    }
    private func listAtOnce(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        let call = StoreCall(kind: .list, keys: [], prefix: prefix, process: process.name, sent: scheduler.steps)
        return try await perform(call) { [bucket] in bucket.page(prefix: prefix, after: after, limit: limit) }
    }
    public func delete(_ keys: [ObjectKey]) async throws {
        let call = StoreCall(kind: .delete, keys: keys, process: process.name, sent: scheduler.steps)
        try await perform(call) { [bucket, process] in
            for key in keys { bucket.delete(key, by: process) }
        } partly: { [bucket, process, scheduler] in
            for key in keys where scheduler.chance(0.5) { bucket.delete(key, by: process) }
        }
    }

    /// Sends a request and waits for its answer.
    ///
    /// - Parameters:
    ///   - partly: the effect of a request that broke off in the middle; none by default.
    ///   - damage: what becomes of an answer on its way.
    private func perform<R: Sendable>(
        _ call: StoreCall, effect: @escaping () throws -> R, partly: @escaping () -> Void = {},
        damage: @escaping (StoreFault, R) -> R = { $1 }
    ) async throws -> R {
        guard process.isAlive else { throw StorageError(.unavailable, "the process has ended") }
        let isRead = [.get, .rangedGet, .head, .list].contains(call.kind)
        let fault =
            bucket.intercept?(call)
            ?? bucket.faults.draw(scheduler, isRead: isRead, isCreation: call.kind == .create)
        let index = bucket.begin(call)
        scheduler.note("\(call.kind) \(call.keys.first?.text ?? call.prefix) \(fault?.name ?? "")")
        let answer = Answer<R>(scheduler, process) { self.bucket.noteAnswer(index, $0) }
        if isRead {
            return try await withTaskCancellationHandler {
                try await withUnsafeThrowingContinuation {
                    answer.continuation = $0
                    self.send(call, index, fault, answer, effect, partly, damage)
                }
            } onCancel: {
                answer.cancel()
            }
        }
        return try await withUnsafeThrowingContinuation {
            answer.continuation = $0
            self.send(call, index, fault, answer, effect, partly, damage)
        }
    }

    private func send<R>(
        _ call: StoreCall, _ index: Int, _ fault: StoreFault?, _ answer: Answer<R>, _ effect: @escaping () throws -> R,
        _ partly: @escaping () -> Void, _ damage: @escaping (StoreFault, R) -> R
    ) {
        if answer.isCancelled { return answer.give(0, .failure(CancellationError())) }
        let most = scheduler.chance(bucket.faults.isSlow) ? 15_000_000_000 : bucket.faults.latencyMax
        let there = scheduler.delay(10_000, most)
        let back = scheduler.delay(10_000, most)
        let happen: () -> Result<R, any Error> = {
            self.bucket.noteEffect(index)
            return Result { try effect() }
        }
        let refusal = StorageError(.unavailable, "the simulated store answers 503 to \(call.kind)")
        if bucket.outageEnd > scheduler.now {
            bucket.count("outage")
            // Refused at once, or no answer at all.
            return answer.give(scheduler.chance(0.5) ? there : Self.timeout, .failure(refusal))
        }
        if let fault { bucket.count(fault.name) }
        switch fault {
        case nil: schedule(there) { answer.give(back, happen()) }
        case .failsBefore, .conflicts?: answer.give(there + back, .failure(refusal))
        case .failsAfter:
            schedule(there) {
                _ = happen()
                answer.give(back, .failure(refusal))
            }
        case .happensLate(let late):
            schedule(Self.timeout + late) { _ = happen() }
            answer.give(Self.timeout, .failure(StorageError(.unavailable, "no answer from the simulated store")))
        case .getsLost:
            answer.give(Self.timeout, .failure(StorageError(.unavailable, "no answer from the simulated store")))
        case .cutsBody:
            schedule(there) { partly() }
            answer.give(there + back, .failure(StorageError(.unavailable, "the connection was cut")))
        case .shortensBody?, .corruptsBody?:
            schedule(there) { answer.give(back, happen().map { damage(fault ?? .corruptsBody, $0) }) }
        case .held(let name):
            bucket.hold(name) { answer.give(back, happen()) }
        }
    }
    /// An effect belongs to the store, not to the process that asked for it.
    private func schedule(_ delay: UInt64, _ effect: @escaping () -> Void) {
        lastPending += 1
        let number = lastPending
        let timer = scheduler.after(delay, as: scheduler.world) {
            self.pending[number] = nil
            effect()
        }
        pending[number] = Pending(timer: timer, effect: effect)
    }

    /// The process is gone; what it sent may be lost on its way, arrive, or arrive much later.
    private func settle() {
        for (_, request) in pending.sorted(by: { $0.key < $1.key }) {
            switch scheduler.random.next() % 3 {
            case 0: scheduler.cancel(request.timer)
            case 1: break
            default:
                scheduler.cancel(request.timer)
                scheduler.after(scheduler.delay(1_000_000, 300_000_000_000), as: scheduler.world, request.effect)
            }
        }
        pending = [:]
    }

    private func damage<R>(_ value: R, _ fault: StoreFault) -> R {
        guard let bytes = value as? [UInt8], !bytes.isEmpty else { return value }
        var damaged = bytes
        let position = Int(scheduler.random.next() % UInt64(bytes.count))
        if fault == .shortensBody {
            damaged.removeLast(bytes.count - position)
        } else {
            damaged[position] ^= UInt8(1) << UInt8(scheduler.random.next() & 7)
        }
        return damaged as? R ?? value
    }
}

/// An answer on its way to its process; given once.
private final class Answer<R>: @unchecked Sendable {
    var continuation: UnsafeContinuation<R, any Error>?
    private(set) var isCancelled = false
    private let scheduler: Scheduler
    private let process: SimulatedProcess
    private let note: (String) -> Void

    init(_ scheduler: Scheduler, _ process: SimulatedProcess, note: @escaping (String) -> Void) {
        self.scheduler = scheduler
        self.process = process
        self.note = note
    }

    func give(_ delay: UInt64, _ result: Result<R, any Error>) {
        scheduler.after(delay, as: process) { self.resume(result) }
    }
    func cancel() {
        isCancelled = true
        resume(.failure(CancellationError()))
    }
    private func resume(_ result: Result<R, any Error>) {
        guard let continuation else { return }
        self.continuation = nil
        switch result {
        case .success: note("ok")
        case .failure(let error): note(error.storageCode.rawValue)
        }
        nonisolated(unsafe) let sent = result
        continuation.resume(with: sent)
    }
}
