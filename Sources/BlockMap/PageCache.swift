import Synchronization

/// Bounds the memory that decoded pages of runs take, over all readers that share it. Second chance: a page that was
/// used since the hand last passed stays. Pages are found through their reader; this holds no index of its own.
///
/// The mutex guards the ring. It is never held while a reader's is taken.
public final class PageCache: Sendable {
    private struct Slot {
        let page: CachedPage
        weak var owner: RunReader?
    }
    private struct State {
        var slots: [Slot] = []
        var hand = 0
        var byteCount = 0
    }
    public let byteCountMax: Int
    private let state = Mutex(State())

    /// - Parameter bytes: of memory; a page that is larger is still read, and dropped at once.
    public init(bytes: Int) { byteCountMax = bytes }

    /// Memory held by pages.
    public var byteCount: Int { state.withLock { $0.byteCount } }

    /// Counts a page that its owner holds already, and tells owners to drop what no longer fits.
    func admit(_ page: CachedPage, of owner: RunReader) {
        let victims = state.withLock { state in
            state.slots.append(Slot(page: page, owner: owner))
            state.byteCount += page.byteCount
            return evict(&state)
        }
        for victim in victims { victim.owner?.drop(victim.page) }
    }

    private func evict(_ state: inout State) -> [Slot] {
        var victims: [Slot] = []
        while state.byteCount > byteCountMax, !state.slots.isEmpty {
            if state.hand >= state.slots.count { state.hand = 0 }
            let slot = state.slots[state.hand]
            if slot.owner != nil, slot.page.wasUsed.exchange(false, ordering: .relaxed) {
                state.hand += 1
                continue
            }
            state.byteCount -= slot.page.byteCount
            state.slots.swapAt(state.hand, state.slots.count - 1)
            victims.append(state.slots.removeLast())
        }
        return victims
    }
}

/// A decoded page in memory.
final class CachedPage: Sendable {
    let position: UInt64
    let page: Page
    let byteCount: Int
    let wasUsed = Atomic<Bool>(false)
    init(position: UInt64, page: Page) {
        self.position = position
        self.page = page
        byteCount = page.byteCount
    }
}

enum Page: Sendable {
    case extents(ExtentPage)
    case index(IndexPage)
    case segments(SegmentPage)
    /// All of a small run's object, still sealed.
    case object([UInt8])

    var byteCount: Int {
        switch self {
        case .extents(let page): page.byteCount
        case .index(let page): page.byteCount
        case .segments(let page): page.byteCount
        case .object(let bytes): bytes.count + 64
        }
    }
}
