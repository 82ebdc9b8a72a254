public import Codec
public import ObjectStorage
public import SegmentLog
public import StoreCore
import Synchronization

/// Reads maps: looks ranges up in a layout's runs, and streams whole versions. One serves all volumes and branches of a
/// store, which share the runs that they share.
///
/// The mutex guards the table of opened runs; any thread may call. A run that is gone makes look-ups throw `notFound`:
/// the layout is old, look again with the current one.
public final class MapReader: Sendable {
    static let readersMax = 1024
    /// Pages that one look-up fetches at a time.
    static let loadsMax = 16

    let store: any ObjectStore
    let keys: KeyRing
    private let pages: PageCache
    private let interner = SegmentInterner()
    private let readers = Mutex<[RunReference: RunReader]>([:])

    public init(store: any ObjectStore, keys: KeyRing, pages: PageCache) {
        self.store = store
        self.keys = keys
        self.pages = pages
    }

    /// What the runs say of `range`: ascending, cut to it, apart. What no run covers is absent (a hole); `.zero` is
    /// told.
    public func lookup(_ range: BlockRange, in layout: MapLayout) async throws -> [Extent] {
        var found: [Extent] = []
        try await lookup(range, in: layout, into: &found)
        return found
    }

    /// Nil when a page would have to be fetched. Neither suspends nor does I/O.
    public func lookupNow(_ range: BlockRange, in layout: MapLayout) throws -> [Extent]? {
        var found: [Extent] = []
        return try lookupNow(range, in: layout, into: &found) ? found : nil
    }

    /// Appends what the runs say of `range`. Holds the pages that it needs until it ends: for a whole volume, stream.
    public func lookup(_ range: BlockRange, in layout: MapLayout, into found: inout [Extent]) async throws {
        if try lookupNow(range, in: layout, into: &found) { return }
        // Pages are kept from round to round, so that no cache is too small for a look-up to end.
        var pinned = PinnedPages()
        var isFirst = true
        while true {
            var pass = LookupPass(reader: self, layout: layout, found: found, pinned: pinned)
            try pass.run(range)
            guard !pass.missing.isEmpty else {
                found = pass.found
                return
            }
            if isFirst { try pass.askForRoots(range) }
            isFirst = false
            try await load(pass.missing.prefix(Self.loadsMax), into: &pinned)
        }
    }

    /// Appends what the runs say of `range`, or appends nothing and returns false when a page would have to be fetched.
    public func lookupNow(_ range: BlockRange, in layout: MapLayout, into found: inout [Extent]) throws -> Bool {
        let start = found.count
        var pass = LookupPass(reader: self, layout: layout, found: found, pinned: nil)
        found = []
        defer { found = pass.found }
        do { try pass.run(range) } catch {
            pass.found.removeSubrange(start...)
            throw error
        }
        guard !pass.missing.isEmpty else { return true }
        pass.found.removeSubrange(start...)
        return false
    }

    private func load(_ missing: some Collection<MissingPage>, into pinned: inout PinnedPages) async throws {
        if missing.count == 1, let only = missing.first {
            pinned[only] = try await only.load()
            return
        }
        try await withThrowingTaskGroup(of: (MissingPage, Page).self) { group in
            for page in missing { group.addTask { (page, try await page.load()) } }
            for try await (page, loaded) in group { pinned[page] = loaded }
        }
    }

    /// The opened run; opening derives its key and does no I/O.
    func reader(for run: RunReference) throws(StorageError) -> RunReader {
        if let known = readers.withLock({ $0[run] }) { return known }
        let opened = try RunReader(run, store: store, keys: keys, cache: pages, interner: interner)
        return readers.withLock { readers in
            if let known = readers[run] { return known }
            if readers.count >= Self.readersMax { readers = readers.filter { !$0.value.isIdle } }
            readers[run] = opened
            return opened
        }
    }
}
