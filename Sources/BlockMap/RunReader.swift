import Codec
import ObjectStorage
import SegmentLog
import StoreCore
import Synchronization

/// Reads one run: pages that are in memory at once, others by one ranged GET each, equal misses by a shared one. A
/// small run is fetched whole, and then its hash is checked; else each page's tag is.
///
/// The mutex guards the pages in memory and the list of loads under way. Errors of the store pass through: `notFound`
/// means that the run was deleted, and that the caller's layout is old.
final class RunReader: Sendable {
    /// Up to here one GET of everything is cheaper than the three that a cold look-up takes.
    static let wholeBytesMax = 128 << 10

    let reference: RunReference
    private let cipher: ObjectCipher
    private let store: any ObjectStore
    private let cache: PageCache
    private let interner: SegmentInterner
    private let key: ObjectKey

    private struct State {
        var pages: [UInt64: CachedPage] = [:]
        /// Who waits for a page that another task fetches.
        var loads: [UInt64: [CheckedContinuation<Void, Never>]] = [:]
    }
    private let state = Mutex(State())

    init(
        _ reference: RunReference, store: any ObjectStore, keys: KeyRing, cache: PageCache, interner: SegmentInterner
    ) throws(StorageError) {
        self.reference = reference
        self.store = store
        self.cache = cache
        self.interner = interner
        key = reference.key
        cipher = try keys.opening(reference.header, identity: reference.identity, object: key.text)
    }

    /// True when it holds no page, so that nothing is lost with it.
    var isIdle: Bool { state.withLock { $0.pages.isEmpty && $0.loads.isEmpty } }
    var isSmall: Bool { reference.byteCount <= UInt64(Self.wholeBytesMax) }

    /// The page when it is in memory.
    func pageNow(_ location: PageLocation) -> Page? { resident(location.position) }

    func page(_ location: PageLocation, _ kind: RunFormat.PageKind) async throws -> Page {
        // Position 0 is the whole object's: a page there would be loaded by waiting for itself.
        guard location.position >= UInt64(ObjectHeader.byteCount) else {
            throw corrupt(location, "a page lies in the header of its object")
        }
        return try await page(at: location.position) { [self] in
            try decode(try await frame(location), location, kind)
        }
    }

    /// Neighbouring pages by one GET, without bringing them to the cache: for who reads everything once.
    func pages(_ locations: ArraySlice<PageLocation>, _ kind: RunFormat.PageKind) async throws -> SealedPages {
        guard let first = locations.first, let last = locations.last else {
            return SealedPages(bytes: [], locations: [])
        }
        let bytes =
            isSmall
            ? try await wholeObject()[Int(first.position)..<Int(last.end)]
            : try await store.get(key, range: first.position..<last.end)[...]
        return SealedPages(bytes: bytes, locations: locations)
    }

    func decode(_ frame: ArraySlice<UInt8>, _ location: PageLocation, _ kind: RunFormat.PageKind) throws(StorageError)
        -> Page
    {
        let object = key.text
        let content = try PageFrame.open(frame, at: location, with: cipher, object: object)
        switch kind {
        case .extents: return .extents(try ExtentPage(decoding: content, object: object))
        case .segments: return .segments(try SegmentPage(decoding: content, object: object, intern: interner.intern))
        case .extentIndex, .segmentIndex:
            return .index(try IndexPage(decoding: content, kind: kind, before: location.position, object: object))
        case .trailer: throw .corrupt(object, at: location.position, "a trailer is no page")
        }
    }

    func corrupt(_ location: PageLocation, _ what: String) -> StorageError {
        .corrupt(key.text, at: location.position, what)
    }

    /// Forgets a page; called by the cache.
    func drop(_ page: CachedPage) {
        state.withLock { state in
            if state.pages[page.position] === page { state.pages[page.position] = nil }
        }
    }

    private func resident(_ position: UInt64) -> Page? {
        state.withLock { state in
            guard let known = state.pages[position] else { return nil }
            if !known.wasUsed.load(ordering: .relaxed) { known.wasUsed.store(true, ordering: .relaxed) }
            return known.page
        }
    }

    private func frame(_ location: PageLocation) async throws -> ArraySlice<UInt8> {
        guard isSmall else { return try await store.get(key, range: location.position..<location.end)[...] }
        let object = try await wholeObject()
        return object[Int(location.position)..<Int(location.end)]
    }

    /// Position 0 stands for the whole object; no page lies there.
    private func wholeObject() async throws -> [UInt8] {
        let page = try await page(at: 0) { [self] in
            let bytes = try await store.get(key)
            guard UInt64(bytes.count) == reference.byteCount, Digest.sha256(bytes) == reference.contentHash else {
                throw StorageError.corrupt(
                    key.text, "it is not what its name says", expected: "\(reference.byteCount) bytes of that hash",
                    actual: "\(bytes.count) bytes")
            }
            return .object(bytes)
        }
        guard case .object(let bytes) = page else { preconditionFailure("position 0 holds the object") }
        return bytes
    }

    private enum Turn {
        case have(Page)
        case load, lookAgain
    }

    /// Single flight: the first to miss a page loads it, in its own task; the others wait and look again. So a load
    /// that fails, or is cancelled, is tried again by one who still wants it.
    private func page(at position: UInt64, load: () async throws -> Page) async throws -> Page {
        while true {
            switch await turn(position) {
            case .have(let page): return page
            case .lookAgain: try Task.checkCancellation()
            case .load: return try await lead(position, load)
            }
        }
    }

    private func turn(_ position: UInt64) async -> Turn {
        if let page = resident(position) { return .have(page) }
        let mustLoad = state.withLock { state in
            guard state.loads[position] == nil, state.pages[position] == nil else { return false }
            state.loads[position] = []
            return true
        }
        if mustLoad { return .load }
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                guard state.loads[position] != nil else { return true }
                state.loads[position]?.append(continuation)
                return false
            }
            if isOver { continuation.resume() }
        }
        return .lookAgain
    }

    private func lead(_ position: UInt64, _ load: () async throws -> Page) async throws -> Page {
        var loaded: CachedPage?
        defer {
            let waiting = state.withLock { state in
                if let loaded { state.pages[position] = loaded }
                return state.loads.removeValue(forKey: position) ?? []
            }
            for continuation in waiting { continuation.resume() }
            if let loaded { cache.admit(loaded, of: self) }
        }
        let page = try await load()
        loaded = CachedPage(position: position, page: page)
        return page
    }
}

/// Neighbouring pages, fetched together and opened one by one.
struct SealedPages {
    var bytes: ArraySlice<UInt8>
    var locations: ArraySlice<PageLocation>

    mutating func next() -> (frame: ArraySlice<UInt8>, location: PageLocation)? {
        guard let location = locations.popFirst() else { return nil }
        let frame = bytes.prefix(Int(location.byteCount))
        bytes = bytes.dropFirst(Int(location.byteCount))
        return (frame, location)
    }
}
