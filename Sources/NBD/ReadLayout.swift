import StoreCore

/// One chunk of a read reply, relative to the start of the read.
struct ReadChunk: Equatable {
    var range: Range<Int>
    var isHole: Bool
}

/// Which parts of read data are sent as holes.
///
/// Zeroes are found in the data itself: no question to the device, and no race with a write between question and read.
enum ReadLayout {
    /// The chunks of a read of `data` from `offset`; empty when all of it goes as one chunk of data.
    static func chunks(_ data: UnsafeRawBufferPointer, offset: UInt64) -> [ReadChunk] {
        guard data.count >= NBDLimits.holeReadBytesMin else { return [] }
        var chunks: [ReadChunk] = []
        var dataStart = 0
        var position = Int((UInt64(blockBytes) - offset % UInt64(blockBytes)) % UInt64(blockBytes))
        while position < data.count {
            let end = zeroesEnd(data, from: position)
            if end - position >= NBDLimits.holeBytesMin {
                if dataStart < position { chunks.append(ReadChunk(range: dataStart..<position, isHole: false)) }
                chunks.append(ReadChunk(range: position..<end, isHole: true))
                dataStart = end
            }
            position = max(end, position + blockBytes)
        }
        if chunks.isEmpty { return [] }
        if dataStart < data.count { chunks.append(ReadChunk(range: dataStart..<data.count, isHole: false)) }
        return chunks
    }

    /// The end of the zero blocks that begin at `start`; `start` itself when its block holds data.
    private static func zeroesEnd(_ data: UnsafeRawBufferPointer, from start: Int) -> Int {
        var end = start
        while end < data.count {
            let blockEnd = min(end + blockBytes, data.count)
            guard isZero(UnsafeRawBufferPointer(rebasing: data[end..<blockEnd])) else { break }
            end = blockEnd
        }
        return end
    }

    @inline(__always)
    private static func isZero(_ block: UnsafeRawBufferPointer) -> Bool {
        guard let base = block.baseAddress else { return true }
        let words = block.count / 8
        var word = 0
        while word < words {
            let stop = min(word + 32, words)
            var bits: UInt64 = 0
            while word < stop {
                bits |= base.loadUnaligned(fromByteOffset: word * 8, as: UInt64.self)
                word += 1
            }
            if bits != 0 { return false }
        }
        return block[(words * 8)...].allSatisfy { $0 == 0 }
    }
}
