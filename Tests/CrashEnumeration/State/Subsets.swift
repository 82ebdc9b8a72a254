/// Which subsets of things that may or may not have happened are looked at.
struct SubsetBounds: Sendable {
    /// Up to this many things every subset is.
    var exhaustiveMax = 6
    /// Of more: none, all, each alone, each left out, each first so many; and this many others.
    var samples = 8
    /// At most this many of the sets that grow with the number of things.
    var familyMax = 64

    func subsets<T>(of things: [T], seed: UInt64) -> [[T]] {
        guard things.count > exhaustiveMax else {
            return (0..<(1 << things.count)).map { mask in
                things.indices.filter { mask >> $0 & 1 == 1 }.map { things[$0] }
            }
        }
        var chosen: [[T]] = [[], things]
        let places = spread(things.count)
        chosen += places.filter { $0 > 0 }.map { Array(things[..<$0]) }
        chosen += places.map { [things[$0]] }
        chosen += places.map { left in things.indices.filter { $0 != left }.map { things[$0] } }
        for sample in 0..<samples {
            var draw = StoreTracker.mix(seed ^ UInt64(sample) << 32)
            chosen.append(
                things.filter { _ in
                    draw = StoreTracker.mix(draw)
                    return draw & 1 == 1
                })
        }
        return chosen
    }

    /// All places, or as many as are allowed: the last ones, where what matters lies, and others evenly.
    private func spread(_ count: Int) -> [Int] {
        guard count > familyMax else { return Array(0..<count) }
        let last = familyMax / 2
        let step = Double(count - last) / Double(familyMax - last)
        return (0..<familyMax - last).map { Int(Double($0) * step) } + (count - last..<count)
    }
}
