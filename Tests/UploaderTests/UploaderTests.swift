import ObjectStorage
import StoreCore
import Synchronization
import Testing
import Uploader

private let quick = RetryPolicy(delayFirst: .milliseconds(1), delayMax: .milliseconds(4))

private func key(_ number: Int) -> ObjectKey { ObjectKey("log/\(UInt64(number).hex)") }
private func body(_ number: Int) -> [UInt8] { [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 100) }

private func uploader(_ store: any ObjectStore, inFlightMax: Int = 4, seed: UInt64 = 0) -> Uploader {
    Uploader(store: store, slots: UploadSlots(inFlightMax: inFlightMax), time: SystemTime(), policy: quick, seed: seed)
}
extension Uploader {
    fileprivate func submit(_ numbers: ClosedRange<Int>) {
        for number in numbers {
            let given = submit(key: key(number), bytes: body(number), sha256: .zero)
            #expect(given == UInt64(number))
        }
    }
    /// A deadline that comes before the first attempt has ended has no cause to name.
    fileprivate func waitUntilOneFailed() async throws {
        while status.lastError == nil { try await Task.sleep(for: .milliseconds(1)) }
    }
}

/// Random delays, failures and ambiguous answers.
private func rough(_ base: any ObjectStore, seed: UInt64) -> FaultStore {
    let random = Mutex(SplitMix64(seed: seed))
    return FaultStore(base) { _ in
        let (delay, draw) = random.withLock { random in
            (Int.random(in: 0...3, using: &random), Int.random(in: 0..<10, using: &random))
        }
        try await Task.sleep(for: .milliseconds(delay))
        return draw == 0 ? .failBefore() : draw == 1 ? .failAfter() : draw == 2 ? .failThenHappen() : nil
    }
}

@Suite struct UploadsAreAcknowledgedInOrder {
    @Test(arguments: 0..<12)
    func whateverTheOrderOfAnswers(seed: UInt64) async throws {
        let store = MemoryStore()
        let uploader = uploader(rough(store, seed: seed), seed: seed)
        let told = Mutex<[UInt64]>([])
        let torn = Atomic(0)
        uploader.onAdvance { frontier in
            told.withLock { $0.append(frontier) }
            if uploader.frontier < frontier { torn.add(1, ordering: .relaxed) }
        }
        uploader.submit(1...60)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 1...60 {
                group.addTask {
                    try await uploader.waitUntilDurable(UInt64(number))
                    // All that a waiter was promised is there.
                    for earlier in 1...number { #expect(try await store.get(key(earlier)) == body(earlier)) }
                }
            }
            try await group.waitForAll()
        }
        #expect(uploader.frontier == 60)
        #expect(told.withLock { $0 == $0.sorted() && $0.last == 60 && Set($0).count == $0.count })
        #expect(torn.load(ordering: .relaxed) == 0)
        #expect(uploader.status.queuedBytes == 0 && uploader.status.lag == .zero && uploader.status.lastError == nil)
    }

    @Test func noMoreThanTheSlotsAllow() async throws {
        let now = Atomic(0)
        let most = Atomic(0)
        let slow = FaultStore(MemoryStore()) { _ in
            most.max(now.add(1, ordering: .relaxed).newValue, ordering: .relaxed)
            try await Task.sleep(for: .milliseconds(2))
            now.subtract(1, ordering: .relaxed)
            return nil
        }
        let slots = UploadSlots(inFlightMax: 3)
        let uploaders = (0..<4).map { volume in
            Uploader(store: PrefixStore(slow, prefix: "v\(volume)/"), slots: slots, time: SystemTime(), policy: quick)
        }
        for uploader in uploaders { uploader.submit(1...20) }
        for uploader in uploaders { try await uploader.waitUntilDurable(20) }
        #expect(most.load(ordering: .relaxed) == 3)
    }

    @Test func anAmbiguousCreationThatHappenedIsASuccess() async throws {
        let store = MemoryStore()
        let faulty = FaultStore(store) { $0.number == 0 ? .failAfter() : nil }
        let uploader = uploader(faulty)
        uploader.submit(1...1)
        try await uploader.waitUntilDurable(1)
        #expect(uploader.status.ending == nil)
    }
}

@Suite struct FencedForEver {
    @Test(arguments: [[], [1, 2, 3], Array(body(3).dropLast()), body(3) + [0], body(4)] as [[UInt8]])
    func byAForeignObject(foreign: [UInt8]) async throws {
        let store = MemoryStore()
        let uploader = uploader(store)
        let ended = Mutex<[ErrorCode]>([])
        uploader.onEnd { error in ended.withLock { $0.append(error.code) } }
        _ = try await store.create(key(3), foreign)
        uploader.submit(1...2)
        try await uploader.waitUntilDurable(2)
        uploader.submit(3...6)
        for number in 3...6 {
            let error = await #expect(throws: StorageError.self) { try await uploader.waitUntilDurable(UInt64(number)) }
            #expect(error?.code == .fenced)
            #expect(error?.message.contains(key(3).text) == true)
        }
        try await uploader.waitUntilDurable(2)
        // Nothing heals it, not even that the foreign object goes.
        try await store.delete([key(3)])
        uploader.submit(7...7)
        await #expect(throws: StorageError.self) { try await uploader.waitUntilDurable(7) }
        #expect(uploader.frontier == 2)
        #expect(try await store.head(key(7)) == nil)
        #expect(ended.withLock { $0 } == [.fenced])
        uploader.onEnd { error in ended.withLock { $0.append(error.code) } }
        #expect(ended.withLock { $0 } == [.fenced, .fenced])
    }
}

@Suite struct WaitersEnd {
    private let down = FaultStore(MemoryStore()) { _ in .failBefore(StorageError(.unavailable, "it is down")) }

    @Test func atTheirDeadlineWhileTheUploadGoesOn() async throws {
        let store = FaultStore(MemoryStore()) { _ in .failBefore(StorageError(.unavailable, "it is down")) }
        let uploader = uploader(store)
        uploader.submit(1...3)
        try await uploader.waitUntilOneFailed()
        let error = await #expect(throws: StorageError.self) {
            try await uploader.waitUntilDurable(3, deadline: .milliseconds(30))
        }
        #expect(error?.code == .unavailable)
        #expect((error?.cause as? StorageError)?.message == "it is down")
        #expect(uploader.status.lastError != nil && uploader.status.lag > .zero)
        store.disarm()
        try await uploader.waitUntilDurable(3, deadline: .seconds(20))
    }

    @Test func withADeadlineOfZero() async throws {
        let uploader = uploader(down)
        uploader.submit(1...1)
        let error = await #expect(throws: StorageError.self) { try await uploader.waitUntilDurable(1, deadline: .zero) }
        #expect(error?.code == .unavailable)
        await uploader.stop()
    }

    @Test(arguments: [ErrorCode.denied, .full, .invalid])
    func withTheErrorThatWantsAnOperator(code: ErrorCode) async throws {
        let store = FaultStore(MemoryStore()) { _ in .failBefore(StorageError(code, "refused")) }
        let uploader = uploader(store)
        uploader.submit(1...1)
        try await uploader.waitUntilOneFailed()
        let error = await #expect(throws: StorageError.self) {
            try await uploader.waitUntilDurable(1, deadline: .milliseconds(30))
        }
        #expect(error?.code == code)
        // Once the cause is gone the upload gets through by itself.
        store.disarm()
        try await uploader.waitUntilDurable(1)
    }

    @Test func whenTheirTaskIsCancelled() async throws {
        let uploader = uploader(down)
        uploader.submit(1...1)
        for delay in [0, 5] {
            let waiter = Task { try await uploader.waitUntilDurable(1) }
            try await Task.sleep(for: .milliseconds(delay))
            waiter.cancel()
            await #expect(throws: CancellationError.self) { try await waiter.value }
        }
        await uploader.stop()
    }

    @Test func whenTheUploaderStops() async throws {
        let running = Atomic(0)
        let store = FaultStore(MemoryStore()) { request in
            running.add(1, ordering: .relaxed)
            defer { running.subtract(1, ordering: .relaxed) }
            // The store answers some, and then nobody any more.
            try await Task.sleep(for: request.number < 6 ? .milliseconds(20) : .seconds(600))
            return request.number % 3 == 0 ? .failBefore() : nil
        }
        let uploader = uploader(store)
        uploader.submit(1...20)
        let waiter = Task { try await uploader.waitUntilDurable(20) }
        try await Task.sleep(for: .milliseconds(30))
        await uploader.stop()
        #expect(running.load(ordering: .relaxed) == 0)
        let error = await #expect(throws: StorageError.self) { try await waiter.value }
        #expect(error?.code == .cancelled)
        let frontier = uploader.frontier
        try await Task.sleep(for: .milliseconds(40))
        #expect(uploader.frontier == frontier && frontier < 20)
        await uploader.stop()
    }

    /// A store that answers no more would hold up the end of a server for as long as it takes to give up.
    @Test(.timeLimit(.minutes(10))) func withoutTheStoresAnswerWhenTheUploaderStops() async throws {
        let store = FaultStore(MemoryStore()) { _ in
            try await Task.sleep(for: .seconds(600))
            return nil
        }
        let uploader = uploader(store)
        let failures = Atomic(0)
        uploader.onFailure { _ in failures.add(1, ordering: .relaxed) }
        uploader.submit(1...20)
        while uploader.status.inFlight == 0 { try await Task.sleep(for: .milliseconds(1)) }
        await uploader.stop()
        #expect(uploader.status.ending?.code == .cancelled)
        #expect(failures.load(ordering: .relaxed) == 0)
    }
}
