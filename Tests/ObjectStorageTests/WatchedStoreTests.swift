import ObjectStorage
import StoreCore
import Synchronization
import Testing

/// `store-away`, `store-back` and `store-slow` are these news, each told once.
@Suite struct AStoreThatIsAwayIsNoticed {
    private let time = TestTime()
    private let faults = FaultStore(MemoryStore(["a": [1]]))
    private let news = News()

    private var store: WatchedStore {
        WatchedStore(faults, time: time) { [news] in news.add($0) }
    }
    private func fail(_ store: WatchedStore, times: Int, with error: StorageError = .injected) async throws {
        faults.arm { _ in .failBefore(error) }
        for _ in 0..<times {
            #expect(await code { _ = try await store.get("a") } == error.code)
            try await time.sleep(for: .seconds(1))
        }
        faults.disarm()
    }

    @Test(arguments: [ErrorCode.unavailable, .denied]) func onceAndOnceWhenItIsBack(code: ErrorCode) async throws {
        let store = store
        _ = try await store.get("a")
        try await fail(store, times: 3, with: StorageError(code, "nobody there"))
        #expect(news.lines.isEmpty)
        try await fail(store, times: 20, with: StorageError(code, "nobody there"))
        #expect(news.lines == ["away \(code.rawValue)"])
        _ = try await store.get("a")
        _ = try await store.get("a")
        #expect(news.lines == ["away \(code.rawValue)", "back after 23 s"])
        // And again, the next time.
        try await fail(store, times: 5)
        _ = try await store.head("a")
        #expect(news.lines.count == 4 && news.lines.last == "back after 5 s")
    }

    @Test func aShortTroubleIsNone() async throws {
        let store = store
        for _ in 0..<5 {
            try await fail(store, times: 3)
            _ = try await store.get("a")
        }
        #expect(news.lines.isEmpty)
    }

    /// "There is no such object" is an answer, and who gave up says nothing of the store.
    @Test func anAnswerOfAnyKindIsAnAnswer() async throws {
        let store = store
        for _ in 0..<10 {
            #expect(await code { _ = try await store.get("none") } == .notFound)
            try await time.sleep(for: .seconds(1))
        }
        try await fail(store, times: 10, with: StorageError(.cancelled, "given up"))
        #expect(news.lines.isEmpty)
    }

    @Test func aSlowRequestOnceEach() async throws {
        let store = store
        faults.arm { [time] request in
            try await time.sleep(for: request.kind == .create ? .seconds(12) : .seconds(9))
            return nil
        }
        _ = try await store.create("b", [1])
        _ = try await store.get("b")
        _ = try await store.list(prefix: "", after: nil, limit: 5)
        #expect(news.lines == ["slow create 12 s"])
    }
}

/// What was told, as text.
private final class News: Sendable {
    private let told = Mutex<[String]>([])
    var lines: [String] { told.withLock { $0 } }

    func add(_ news: WatchedStore.News) {
        let line =
            switch news {
            case .away(let error): "away \(error.code.rawValue)"
            case .back(let after): "back after \(after.components.seconds) s"
            case .slow(let kind, let took): "slow \(kind.rawValue) \(took.components.seconds) s"
            }
        told.withLock { $0.append(line) }
    }
}
