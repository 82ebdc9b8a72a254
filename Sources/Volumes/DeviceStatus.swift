import StoreCore

/// Answers BLOCK_STATUS from a function that lists the data of a range of blocks. Looks at one window after another, so
/// that neither a densely written nor an empty volume of a petabyte costs more than what is answered.
func deviceStatus(
    at offset: UInt64, count: UInt64, extentsMax: Int, dataRanges: (BlockRange) async throws -> [BlockRange]
) async throws -> [DeviceExtent] {
    let end = offset + count
    var answer = StatusAnswer(next: offset, extentsMax: extentsMax)
    var window: UInt64 = 64 << 20
    while answer.next < end, !answer.isFull {
        let upTo = min(end, (answer.next / window + 1) * window)
        let data = try await dataRanges(BlockRange.touching(byteOffset: answer.next, byteCount: upTo - answer.next))
        for range in data where !answer.isFull {
            answer.extend(to: min(max(range.byteOffset, answer.next), upTo), isHole: true)
            answer.extend(to: min(range.end.byteOffset, upTo), isHole: false)
        }
        answer.extend(to: upTo, isHole: true)
        window = data.isEmpty ? min(window * 8, 1 << 50) : 64 << 20
    }
    return answer.extents
}

private struct StatusAnswer {
    var next: UInt64
    let extentsMax: Int
    var extents: [DeviceExtent] = []

    /// One more extent than allowed was begun; it is not kept.
    private(set) var isFull = false

    init(next: UInt64, extentsMax: Int) {
        self.next = next
        self.extentsMax = max(extentsMax, 1)
    }

    mutating func extend(to end: UInt64, isHole: Bool) {
        guard end > next, !isFull else { return }
        if let last = extents.last, last.isHole == isHole {
            extents[extents.count - 1].byteCount += end - next
        } else if extents.count == extentsMax {
            isFull = true
            return
        } else {
            extents.append(DeviceExtent(byteCount: end - next, isHole: isHole))
        }
        next = end
    }
}
