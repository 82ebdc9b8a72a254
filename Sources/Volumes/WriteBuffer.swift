import BlockMap
import StoreCore

/// The writes that one segment will hold, as they came. A block that is rewritten before the seal is held once.
///
/// The volume's lock guards a buffer while it takes writes; once sealed it never changes and anyone may read it.
final class WriteBuffer: @unchecked Sendable {
    private static let slabSlots = 256

    private(set) var pieces = IntervalMap<BufferedPiece>()
    private var slabs: [IOBuffer] = []
    private(set) var slotsUsed = 0
    private(set) var firstWrite: WriteSequence?
    private(set) var lastWrite: WriteSequence?
    private(set) var firstTime = Timestamp(nanoseconds: 0)
    private(set) var lastTime = Timestamp(nanoseconds: 0)
    /// The volume's size after the last of these writes.
    var volumeBytes: UInt64

    init(volumeBytes: UInt64) { self.volumeBytes = volumeBytes }

    var isEmpty: Bool { firstWrite == nil }
    /// Data, as a segment's target counts it.
    var byteCount: Int { slotsUsed * blockBytes }
    /// Charged for a piece of the map, whatever it stands for: zeroes and trims take memory too.
    static let pieceBytes = 128
    /// What the limit of a volume's memory counts.
    var memoryBytes: Int { byteCount + pieces.count * Self.pieceBytes }
    /// True when the next write should go to another segment.
    func isFull(at bytesTarget: Int) -> Bool {
        byteCount >= bytesTarget || pieces.count >= 4 * Limits.segmentBlocksMax
    }

    /// Takes note of a write; every change of the buffer goes with one.
    func stamp(_ sequence: WriteSequence, at time: Timestamp) {
        if firstWrite == nil { (firstWrite, firstTime) = (sequence, time) }
        (lastWrite, lastTime) = (sequence, max(time, firstTime))
    }

    func put(_ range: BlockRange, _ bytes: UnsafeRawBufferPointer) {
        if overwrite(range, bytes) { return }
        let first = slotsUsed
        slotsUsed += Int(range.count)
        while slabs.count * Self.slabSlots < slotsUsed { slabs.append(IOBuffer(count: Self.slabSlots * blockBytes)) }
        store(bytes, inSlots: first)
        pieces.set(range, .slots(first: first))
    }
    func putZeroes(_ range: BlockRange) { pieces.set(range, .zero) }

    /// A rewrite takes the slots that it had, so that a hot block does not fill the buffer.
    private func overwrite(_ range: BlockRange, _ bytes: UnsafeRawBufferPointer) -> Bool {
        var covered: UInt64 = 0
        pieces.forEach(in: range) { part, piece in
            if case .slots = piece { covered += part.count }
        }
        guard covered == range.count else { return false }
        pieces.forEach(in: range) { part, piece in
            guard case .slots(let first) = piece else { return }
            let from = Int((part.first - range.first)) * blockBytes
            store(UnsafeRawBufferPointer(rebasing: bytes[from..<from + Int(part.byteCount)]), inSlots: first)
        }
        return true
    }

    /// Hands out the slots' bytes as stretches of contiguous memory: (slots from `first`, their bytes).
    private func forEachStretch(_ first: Int, _ count: Int, _ body: (Int, UnsafeMutableRawBufferPointer) throws -> Void)
        rethrows
    {
        var done = 0
        while done < count {
            let slot = first + done
            let inSlab = slot % Self.slabSlots
            let stretch = min(count - done, Self.slabSlots - inSlab)
            try slabs[slot / Self.slabSlots].withMutableBytes { slab in
                let from = inSlab * blockBytes
                try body(done, UnsafeMutableRawBufferPointer(rebasing: slab[from..<from + stretch * blockBytes]))
            }
            done += stretch
        }
    }
    private func store(_ bytes: UnsafeRawBufferPointer, inSlots first: Int) {
        forEachStretch(first, bytes.count / blockBytes) { done, slots in
            let from = done * blockBytes
            slots.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[from..<from + slots.count]))
        }
    }

    /// Copies `count` slots to `target`.
    func copy(slots first: Int, count: Int, to target: UnsafeMutableRawBufferPointer) {
        forEachStretch(first, count) { done, slots in
            let from = done * blockBytes
            UnsafeMutableRawBufferPointer(rebasing: target[from..<from + slots.count])
                .copyMemory(from: UnsafeRawBufferPointer(slots))
        }
    }
    /// The bytes of blocks that this buffer holds all of, as data.
    func bytes(of range: BlockRange) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: Int(range.byteCount)) { target, count in
            pieces.forEach(in: range) { part, piece in
                guard case .slots(let first) = piece else { return }
                let from = Int(part.byteOffset - range.byteOffset)
                let bytes = UnsafeMutableRawBufferPointer(target)
                copy(
                    slots: first, count: Int(part.count),
                    to: UnsafeMutableRawBufferPointer(rebasing: bytes[from..<from + Int(part.byteCount)]))
                count += Int(part.byteCount)
            }
            precondition(count == Int(range.byteCount), "the buffer holds what its segment does")
        }
    }
    /// The slots' bytes, stretch by stretch: (blocks from the first, bytes).
    func withBytes(slots first: Int, count: Int, _ body: (UInt64, UnsafeRawBufferPointer) throws -> Void) rethrows {
        try forEachStretch(first, count) { done, slots in try body(UInt64(done), UnsafeRawBufferPointer(slots)) }
    }
}
