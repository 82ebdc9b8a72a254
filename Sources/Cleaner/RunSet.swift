import BlockMap
import StoreCore

/// The maps of all reachable versions, each run held once, however many versions name it.
struct RunSet: Sendable {
    /// A layout as numbers of runs.
    struct Layout: Hashable, Sendable {
        var levels: [[Int32]]
    }
    private(set) var runs: [RunReference] = []
    private var numbers: [RunReference: Int32] = [:]
    private var known: Set<Layout> = []
    /// Distinct ones, in the order in which they came.
    private(set) var layouts: [Layout] = []

    /// - Returns: the numbers of the layout's runs.
    @discardableResult
    mutating func insert(_ map: MapLayout) -> Layout {
        let layout = Layout(levels: map.levels.map { level in level.map { number(of: $0) } })
        if !map.isEmpty, known.insert(layout).inserted { layouts.append(layout) }
        return layout
    }
    private mutating func number(of run: RunReference) -> Int32 {
        if let known = numbers[run] { return known }
        let number = Int32(runs.count)
        runs.append(run)
        numbers[run] = number
        return number
    }

    func map(of layout: Layout) -> MapLayout {
        MapLayout(levels: layout.levels.map { level in level.map { runs[Int($0)] } })
    }
    /// Content hashes: the names of runs.
    var hashes: Set<Digest> { Set(runs.map(\.contentHash)) }
}
