import ObjectStorage
import Simulation
import StoreCore

/// A store whose requests take time, and which writes down what changes it.
final class RecordingStore: ObjectStore {
    let location = "recorded"
    private let base: MemoryStore
    private let recorder: Recorder
    private let pause: Pause

    init(_ base: MemoryStore, recorder: Recorder, pause: Pause) {
        self.base = base
        self.recorder = recorder
        self.pause = pause
    }

    func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        await pause.request()
        let bytes = try await base.get(key, range: range)
        await pause.request()
        recorder.observe([key])
        return bytes
    }
    func head(_ key: ObjectKey) async throws -> ObjectInfo? {
        await pause.request()
        let info = try await base.head(key)
        await pause.request()
        if info != nil { recorder.observe([key]) }
        return info
    }
    func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        await pause.request()
        let page = try await base.list(prefix: prefix, after: after, limit: limit)
        await pause.request()
        recorder.observe(page.objects.map(\.key))
        return page
    }
    func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        let number = recorder.send(.create(key, bytes))
        await pause.upload()
        let outcome = try await base.create(key, bytes, sha256: nil)
        if outcome == .created { recorder.tookEffect(number) } else { recorder.observe([key]) }
        await pause.upload()
        recorder.settle(number)
        return outcome
    }
    func delete(_ keys: [ObjectKey]) async throws {
        let numbers = keys.map { recorder.send(.delete($0)) }
        await pause.upload()
        try await base.delete(keys)
        for number in numbers { recorder.tookEffect(number) }
        await pause.upload()
        for number in numbers { recorder.settle(number) }
    }
}

/// How long things take: drawn by the scheduler, which so decides what is under way at once.
struct Pause: Sendable {
    let scheduler: Scheduler
    /// Nanoseconds, at most.
    var uploadMax: UInt64 = 20_000_000

    func request() async { await pass(scheduler.delay(10_000, 2_000_000)) }
    func upload() async { await pass(scheduler.delay(10_000, uploadMax)) }
    func disk() async { await pass(scheduler.delay(1_000, 1_500_000)) }

    /// Whatever is cancelled.
    private func pass(_ nanoseconds: UInt64) async {
        await withUnsafeContinuation { continuation in
            _ = scheduler.after(nanoseconds) { continuation.resume() }
        }
    }
}
