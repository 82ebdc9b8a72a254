public import Codec
public import ObjectStorage
public import StoreCore
import Synchronization

/// The catalog of a store: which volumes and snapshots there are, and what must be kept.
///
/// Every commit is one number, created once; concurrent commits of one `CatalogLog` share a number. Thread-safe.
public final class CatalogLog: Sendable {
    let store: any ObjectStore
    let keys: KeyRing
    let time: any TimeSource
    let log: NumberedLog<CatalogVersion>

    struct Queue {
        var members: [any CatalogCommit] = []
        var isRunning = false
    }
    /// Guards commits that wait for the next number.
    let queue = Mutex(Queue())

    /// How old the last look at the store may be for a commit to start without another.
    static let baseAgeMax: Duration = .seconds(5)

    public init(store: any ObjectStore, keys: KeyRing, time: any TimeSource) {
        self.store = store
        self.keys = keys
        self.time = time
        log = NumberedLog(
            NumberedObjects(prefix: CatalogVersion.prefix, store: store), time: time, baseAgeMax: Self.baseAgeMax
        ) { number, bytes, base in
            try await Self.load(number, bytes, base: base, store: store, keys: keys)
        }
    }

    /// The catalog's numbers as objects, for who deletes them.
    public var objects: NumberedObjects { log.objects }

    /// What the catalog says now: one LIST, and a GET of what changed. An empty state where nothing was ever entered.
    ///
    /// A commit within five seconds of this needs no look of its own: call it while other things are uploaded.
    public func newest() async throws -> CatalogState { try await log.newest()?.state ?? CatalogState() }
    /// What this log saw last, without asking the store.
    public var lastSeen: CatalogState? { log.lastSeen?.state }

    /// Commits `change` of the newest catalog, exactly once, and returns what it returned.
    ///
    /// `change` may run several times, each time on a newer state; only the last run counts. What it throws is thrown,
    /// and holds for a state that was the newest at some moment since the call; it stops no other commit of the group.
    /// Nothing is written when it changes nothing. A commit that has begun is not cancelled.
    /// Throws `unavailable` when the outcome is open.
    @discardableResult
    public func commit<T: Sendable>(_ change: @escaping @Sendable (inout CatalogEditor) throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            enqueue(CatalogCommitMember(change: change, continuation: continuation))
        }
    }
}

// MARK: Reading
extension CatalogLog {
    private static let requestsInFlightMax = 16

    private static func load(
        _ number: UInt64, _ bytes: [UInt8], base: CatalogVersion?, store: any ObjectStore, keys: KeyRing
    ) async throws -> CatalogVersion {
        let object = try CatalogObject(opening: bytes, number: number, keys: keys)
        let base = base ?? CatalogVersion()
        let known = Set(base.pages)
        let wanted = object.pages.filter { !$0.isEmpty && !known.contains($0) }
        let rows = try await inParallel(wanted, atMost: requestsInFlightMax) { page in
            (page, try CatalogPage.rows(opening: try await store.get(page.key), as: page, keys: keys))
        }
        return try object.version(on: base, rows: Dictionary(rows) { first, _ in first })
    }

    func upload(_ pages: [SealedPage]) async throws {
        _ = try await inParallel(pages, atMost: Self.requestsInFlightMax) { [store] page in
            // A page of this name has these bytes: its name is their hash.
            try await store.create(page.reference.key, page.bytes, sha256: page.reference.hash)
        }
    }
}

/// Maps in parallel, some at a time; the results come in no order. The first error stops the rest.
private func inParallel<Element: Sendable, Result: Sendable>(
    _ elements: [Element], atMost limit: Int, _ body: @escaping @Sendable (Element) async throws -> Result
) async throws -> [Result] {
    try await withThrowingTaskGroup(of: Result.self) { group in
        var results: [Result] = []
        for (index, element) in elements.enumerated() {
            if index >= limit, let result = try await group.next() { results.append(result) }
            group.addTask { try await body(element) }
        }
        for try await result in group { results.append(result) }
        return results
    }
}
