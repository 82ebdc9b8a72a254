import BlockMap
import StoreCore

extension IntervalMap {
    /// Calls `found` for what this layer holds of `holes`; returns what it does not, for the layer below.
    func fill(_ holes: [BlockRange], _ found: (BlockRange, Value) -> Void) -> [BlockRange] {
        guard !isEmpty else { return holes }
        var rest: [BlockRange] = []
        for hole in holes {
            var next = hole.first
            forEach(in: hole) { range, value in
                if next < range.first { rest.append(BlockRange(next, upTo: range.first)) }
                found(range, value)
                next = range.end
            }
            if next < hole.end { rest.append(BlockRange(next, upTo: hole.end)) }
        }
        return rest
    }
}
