import StoreCore

/// Ranges whose edges are being read, merged and rewritten. Writes that overlap one wait for it; the waiting is the
/// owner's business (`Volume`), this is only who holds what.
struct RangeLocks {
    struct ID: Hashable {
        fileprivate var number: UInt64
    }
    private var held: [ID: BlockRange] = [:]
    private var numbers: UInt64 = 0

    /// nil when an overlapping range is held.
    mutating func acquire(_ range: BlockRange) -> ID? {
        guard !conflicts(with: range, except: nil) else { return nil }
        numbers += 1
        held[ID(number: numbers)] = range
        return ID(number: numbers)
    }
    mutating func release(_ id: ID) { held[id] = nil }

    func conflicts(with range: BlockRange, except own: ID?) -> Bool {
        guard !held.isEmpty else { return false }
        return held.contains { $0.key != own && $0.value.overlaps(range) }
    }
}
