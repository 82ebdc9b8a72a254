import StoreCore

/// Numbers in as many bits each as the largest difference from their minimum needs; any of them is read in O(1).
///
///     | minimum varint | width 1 | values: width bits each, lowest bit first |
///
/// The same bits in memory and on storage: a cached page takes hardly more memory than its object's bytes.
struct PackedColumn: Sendable {
    let count: Int
    let minimum: UInt64
    /// Bits per value, 0...64.
    let width: Int
    private let words: [UInt64]

    init(_ values: [UInt64]) {
        count = values.count
        let minimum = values.min() ?? 0
        self.minimum = minimum
        let width = 64 - ((values.max() ?? 0) - minimum).leadingZeroBitCount
        self.width = width
        var words: [UInt64] = []
        words.reserveCapacity((values.count * width + 63) / 64)
        var filling: UInt64 = 0
        var filled = 0
        if width > 0 {
            for value in values {
                let bits = value - minimum
                filling |= bits << UInt64(filled)
                filled += width
                if filled >= 64 {
                    words.append(filling)
                    filled -= 64
                    filling = filled == 0 ? 0 : bits >> UInt64(width - filled)
                }
            }
        }
        if filled > 0 { words.append(filling) }
        self.words = words
    }

    /// The value at `index`, which lies in `0 ..< count`.
    @inline(__always)
    subscript(index: Int) -> UInt64 {
        guard width > 0 else { return minimum }
        let bit = index &* width
        let word = bit >> 6
        let shift = bit & 63
        var value = words[word] >> UInt64(shift)
        if shift + width > 64 { value |= words[word + 1] << UInt64(64 - shift) }
        return minimum &+ (value & mask)
    }
    private var mask: UInt64 { width == 64 ? .max : (1 << UInt64(width)) - 1 }

    /// The last index whose value is at most `value`, of values that ascend; nil where the first is greater.
    ///
    /// Binary search that begins where the value would be if all were evenly spread, as blocks of a well-filled page
    /// are.
    func lastIndex(notAbove value: UInt64) -> Int? {
        guard count > 0, minimum <= value else { return nil }
        var low = 0
        var high = count
        let greatest = self[count - 1]
        if value >= greatest { return count - 1 }
        let share = Double(value - minimum) / Double(greatest - minimum)
        let guess = Int(share * Double(count - 1))
        let reach = 8
        if guess >= reach, self[guess - reach] <= value { low = guess - reach }
        if guess + reach < count, self[guess + reach] > value { high = guess + reach }
        while low < high {
            let middle = (low + high) / 2
            if self[middle] <= value { low = middle + 1 } else { high = middle }
        }
        return low - 1
    }

    var values: [UInt64] { (0..<count).map { self[$0] } }
    /// In memory.
    var byteCount: Int { 64 + words.count * 8 }

    func encode(into writer: inout ByteWriter) {
        writer.varint(minimum)
        writer.byte(UInt8(width))
        var rest = (count * width + 7) / 8
        for word in words {
            if rest >= 8 {
                writer.littleEndian(word)
            } else {
                for index in 0..<rest { writer.byte(UInt8(truncatingIfNeeded: word >> UInt64(8 * index))) }
            }
            rest -= 8
        }
    }
    /// Takes no more memory than the input has bytes, whatever `count` claims.
    init(decoding reader: inout ByteReader, count: Int) throws(StorageError) {
        self.count = count
        minimum = try reader.varint()
        width = Int(try reader.byte())
        guard width <= 64 else { throw reader.corrupt("a column's values have \(width) bits") }
        let bytes = try reader.raw((count * width + 7) / 8)
        var words: [UInt64] = []
        words.reserveCapacity((bytes.count + 7) / 8)
        var position = bytes.startIndex
        while bytes.endIndex - position >= 8 {
            var word: UInt64 = 0
            for index in 0..<8 { word |= UInt64(bytes[position + index]) << UInt64(8 * index) }
            words.append(word)
            position += 8
        }
        if position < bytes.endIndex {
            words.append(bytes[position...].reversed().reduce(0) { $0 << 8 | UInt64($1) })
        }
        self.words = words
        guard minimum <= UInt64.max - mask || width == 0 else {
            throw reader.corrupt("a column's values exceed 64 bits")
        }
    }
}
