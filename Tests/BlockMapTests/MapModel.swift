import BlockMap
import Codec
import ObjectStorage
import SegmentLog
import StoreCore

/// What a map should say, block by block; no entry is a hole, and zeroes are holes to who reads.
struct MapModel: Sendable, Equatable {
    var cells: [BlockLocation?]
    init(blocks: Int) { cells = Array(repeating: nil, count: blocks) }

    mutating func apply(_ extent: Extent) {
        for offset in 0..<extent.range.count {
            let index = Int(extent.range.first.value + offset)
            switch extent.mapping {
            case .zero: cells[index] = nil
            case .data(let location): cells[index] = location.advanced(by: offset)
            }
        }
    }
    func cells(in range: BlockRange) -> [BlockLocation?] {
        Array(cells[Int(range.first.value)..<Int(range.end.value)])
    }

    /// What extents say of `range`; nil where they are not ascending, apart and inside.
    static func cells(of extents: some Sequence<Extent>, in range: BlockRange) -> [BlockLocation?]? {
        var cells = [BlockLocation?](repeating: nil, count: Int(range.count))
        var next = range.first
        for extent in extents {
            guard extent.range.first >= next, extent.range.end <= range.end, !extent.range.isEmpty else { return nil }
            next = extent.range.end
            guard case .data(let location) = extent.mapping else { continue }
            for offset in 0..<extent.range.count {
                cells[Int(extent.range.first - range.first + offset)] = location.advanced(by: offset)
            }
        }
        return cells
    }
}

/// Random writes as a volume would make them: records of 1 to 32 blocks in segments that fill up one after the other.
struct ExtentSource {
    var random: SplitMix64
    let blocks: Int
    private let segmentBytes: UInt32
    private var segment: SegmentReference
    private var sequence = SegmentSequence(1)
    private var position: UInt32 = 32
    static let volume = VolumeID(0x5a65_726f_6673)

    init(seed: UInt64, blocks: Int, segmentBytes: UInt32 = 1 << 20) {
        self.segmentBytes = segmentBytes
        random = SplitMix64(seed: seed)
        self.blocks = blocks
        segment = Self.segment(sequence, volume: Self.volume)
    }

    static func segment(_ sequence: SegmentSequence, volume: VolumeID) -> SegmentReference {
        var bits = SplitMix64(seed: sequence.value)
        func half() -> UInt128 { UInt128(bits.next()) << 64 | UInt128(bits.next()) }
        return SegmentReference(
            id: .log(volume: volume, epoch: Epoch(3), sequence: sequence),
            header: ObjectHeader(kind: .segment, algorithm: .chaCha20Poly1305, keyID: DataKeyID(1), salt: Salt(half())),
            contentHash: Digest(high: half(), low: half()), byteCount: 8 << 20)
    }

    mutating func extent(longest: Int = 40, zeroesOneIn: Int = 6) -> [Extent] {
        let first = Int.random(in: 0..<blocks, using: &random)
        let count = Int.random(in: 1...min(longest, blocks - first), using: &random)
        let range = BlockRange(first: BlockIndex(UInt64(first)), count: UInt64(count))
        if Int.random(in: 0..<zeroesOneIn, using: &random) == 0 { return [Extent(range: range, mapping: .zero)] }
        return data(range)
    }

    /// As records of at most 32 blocks.
    mutating func data(_ range: BlockRange) -> [Extent] {
        var extents: [Extent] = []
        var next = range.first
        while next < range.end {
            let count = min(range.end - next, 32)
            let bytes = UInt32.random(in: 200...UInt32(count) * 4112, using: &random)
            if position + bytes > segmentBytes {
                sequence = sequence.next
                segment = Self.segment(sequence, volume: Self.volume)
                position = 32
            }
            let record = RecordLocation(position: position, byteCount: bytes, blockCount: UInt8(count))
            position += bytes
            extents.append(
                Extent(
                    range: BlockRange(first: next, count: count),
                    mapping: .data(BlockLocation(segment: segment, record: record, blockOffset: 0))))
            next = next + count
        }
        return extents
    }
}

extension RunShape {
    /// So small that a few extents make pages, two levels of index and several runs.
    static let tiny: RunShape = {
        var shape = RunShape.standard
        shape.pageBytes = 120
        shape.pageExtentsMax = 7
        shape.indexEntriesMax = 3
        shape.segmentsPerPage = 2
        shape.runBytes = 6000
        return shape
    }()
}
