import Codec
import StoreCore

/// A page of an index: for each child its first key (a block, or a segment's rank) and where it lies.
///
///     | kind 2 or 4 | children n varint | first child's position varint | first key varint |
///     | key - key before: n | bytes: n |
///
/// Children follow each other without gaps in the object.
final class IndexPage: Sendable {
    let count: Int
    private let firstKey: UInt64
    private let position: UInt64
    /// From `firstKey`.
    private let keys: PackedColumn
    /// Ends, from `position`.
    private let ends: PackedColumn

    func key(at index: Int) -> UInt64 { firstKey + keys[index] }
    func location(at index: Int) -> PageLocation {
        let start = index == 0 ? 0 : ends[index - 1]
        return PageLocation(position: position + start, byteCount: UInt32(ends[index] - start))
    }
    /// The last child that begins at or before `key`, else the first one.
    func child(for key: UInt64) -> Int {
        guard key >= firstKey else { return 0 }
        return keys.lastIndex(notAbove: key - firstKey) ?? 0
    }
    /// Memory held.
    var byteCount: Int { 64 + keys.byteCount + ends.byteCount }

    /// - Parameter end: where the index itself begins in the object; its children lie before.
    init(decoding bytes: [UInt8], kind: RunFormat.PageKind, before end: UInt64, object: String) throws(StorageError) {
        var reader = ByteReader(bytes, object: object)
        guard try reader.byte() == kind.rawValue else { throw reader.corrupt("an index page is of another kind") }
        let count = Int(clamping: try reader.varint())
        guard (1...RunFormat.pageExtentsMax).contains(count) else {
            throw reader.corrupt("an index page claims \(count) children")
        }
        self.count = count
        position = try reader.varint()
        firstKey = try reader.varint()
        let steps = try PackedColumn(decoding: &reader, count: count)
        let sizes = try PackedColumn(decoding: &reader, count: count)
        try reader.finish()

        guard position <= end, firstKey <= RunFormat.blocksMax, steps[0] == 0 else {
            throw reader.corrupt("an index page begins outside of its object")
        }
        var keys: [UInt64] = []
        var ends: [UInt64] = []
        var key: UInt64 = 0
        var childEnd: UInt64 = 0
        for index in 0..<count {
            let step = steps[index]
            let size = sizes[index]
            guard step > 0 || index == 0, step <= RunFormat.blocksMax - key else {
                throw reader.corrupt("the keys of an index do not ascend")
            }
            guard size > UInt64(ObjectCipher.tagBytes), size <= UInt64(RunFormat.pageBytesMax),
                childEnd + size <= end - position
            else { throw reader.corrupt("a child of an index lies outside of its object") }
            key += step
            childEnd += size
            keys.append(key)
            ends.append(childEnd)
        }
        self.keys = PackedColumn(keys)
        self.ends = PackedColumn(ends)
    }

    /// - Parameter children: in order, each beginning where the one before ends.
    static func encode(_ children: ArraySlice<IndexEntry>, kind: RunFormat.PageKind) -> [UInt8] {
        guard let first = children.first else { preconditionFailure("an index page has children") }
        var writer = ByteWriter(reserving: children.count * 4 + 64)
        writer.byte(kind.rawValue)
        writer.varint(UInt64(children.count))
        writer.varint(first.location.position)
        writer.varint(first.key)
        var key = first.key
        var position = first.location.position
        var steps: [UInt64] = []
        for child in children {
            precondition(child.location.position == position, "pages of one level follow each other")
            steps.append(child.key - key)
            (key, position) = (child.key, child.location.end)
        }
        PackedColumn(steps).encode(into: &writer)
        PackedColumn(children.map { UInt64($0.location.byteCount) }).encode(into: &writer)
        return writer.finish()
    }
}

/// A page as its parent names it.
struct IndexEntry: Hashable, Sendable {
    var key: UInt64
    var location: PageLocation
}
