import SegmentLog
import StoreCore

/// The segments that a run under construction refers to, numbered as they appear, with their live bytes.
struct SegmentTable {
    private var usages: [SegmentUsage] = []
    /// Most extents name a reference object that was named before; only new objects are compared by name. `usages`, or
    /// `aliases`, holds each object in here, so that no address is used again.
    private var byObject: [ObjectIdentifier: Int] = [:]
    private var bySegment: [SegmentReference: Int] = [:]
    private var aliases: [SegmentReference] = []
    private var last: (segment: SegmentReference, number: Int)?

    var count: Int { usages.count }

    /// 0 for zeroes, else 1 + the segment's number; counts the extent's bytes as live.
    mutating func number(of extent: Extent) -> UInt64 {
        guard case .data(let location) = extent.mapping else { return 0 }
        let number = number(of: location.segment)
        usages[number].liveBytes += ExtentPage.liveBytes(
            of: UInt64(location.record.byteCount), recordBlocks: UInt64(location.record.blockCount),
            blocks: extent.range.count)
        return UInt64(number) + 1
    }

    private mutating func number(of segment: SegmentReference) -> Int {
        if let last, last.segment === segment { return last.number }
        let number = byObject[ObjectIdentifier(segment)] ?? register(segment)
        last = (segment, number)
        return number
    }
    private mutating func register(_ segment: SegmentReference) -> Int {
        let number: Int
        if let known = bySegment[segment] {
            number = known
            aliases.append(segment)
        } else {
            number = usages.count
            usages.append(SegmentUsage(segment: segment, liveBytes: 0))
            bySegment[segment] = number
        }
        byObject[ObjectIdentifier(segment)] = number
        return number
    }

    /// The table in the order of names, and each number's rank in it.
    func sorted() -> (usages: [SegmentUsage], ranks: [Int]) {
        let order = usages.indices.sorted { usages[$0].segment.id < usages[$1].segment.id }
        var ranks = [Int](repeating: 0, count: order.count)
        for (rank, number) in order.enumerated() { ranks[number] = rank }
        return (order.map { usages[$0] }, ranks)
    }
}
