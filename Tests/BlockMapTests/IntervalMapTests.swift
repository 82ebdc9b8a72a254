import StoreCore
import Testing

@testable import BlockMap

/// A value that tells which write it came from and which of its blocks it stands for.
private struct Piece: IntervalValue, Hashable {
    var write: Int
    var offset: UInt64
    func advanced(by blocks: UInt64) -> Piece { Piece(write: write, offset: offset + blocks) }
}

@Suite struct IntervalMapEqualsAnArray {
    private static let blocks = 6000

    /// What a map should say, block by block.
    private struct Model {
        var cells = [Piece?](repeating: nil, count: blocks)
        mutating func set(_ range: BlockRange, write: Int?) {
            for offset in 0..<range.count {
                cells[Int(range.first.value + offset)] = write.map { Piece(write: $0, offset: offset) }
            }
        }
    }

    private func cells(of map: IntervalMap<Piece>, in range: BlockRange) -> [Piece?] {
        var cells = [Piece?](repeating: nil, count: Int(range.count))
        var next = range.first
        map.forEach(in: range) { part, piece in
            #expect(part.first >= next && part.end <= range.end && !part.isEmpty)
            next = part.end
            for offset in 0..<part.count { cells[Int(part.first - range.first + offset)] = piece.advanced(by: offset) }
        }
        return cells
    }

    private func randomRange(_ random: inout SplitMix64, longest: Int) -> BlockRange {
        let first = Int.random(in: 0..<Self.blocks, using: &random)
        let count = Int.random(in: 0...min(longest, Self.blocks - first), using: &random)
        return BlockRange(first: BlockIndex(UInt64(first)), count: UInt64(count))
    }

    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func whateverIsSetAndRemoved(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var map = IntervalMap<Piece>()
        var model = Model()
        var old: [(IntervalMap<Piece>, Model)] = []
        for step in 0..<8000 {
            // Mostly short, so that many chunks form; at times long, so that whole chunks go.
            let range = randomRange(&random, longest: step % 50 == 49 ? 3000 : 3)
            if Int.random(in: 0..<8, using: &random) == 0 {
                map.remove(range)
                model.set(range, write: nil)
            } else {
                map.set(range, Piece(write: step, offset: 0))
                model.set(range, write: step)
            }
            if step % 20 == 0 {
                let part = randomRange(&random, longest: 400)
                let from = Int(part.first.value)
                #expect(cells(of: map, in: part) == Array(model.cells[from..<from + Int(part.count)]))
                let block = BlockIndex(UInt64(Int.random(in: 0..<Self.blocks, using: &random)))
                let found = map.value(at: block)
                #expect(found.map { $1.advanced(by: block - $0.first) } == model.cells[Int(block.value)])
            }
            if step % 997 == 0 { old.append((map, model)) }
            if step % 500 == 0 { checkInvariants(map) }
        }
        old.append((map, model))
        for (map, model) in old {
            let whole = BlockRange(first: BlockIndex(0), count: UInt64(Self.blocks))
            #expect(cells(of: map, in: whole) == model.cells)
        }
    }

    private func checkInvariants(_ map: IntervalMap<Piece>) {
        var count = 0
        var end: UInt64 = 0
        map.forEach { range, _ in
            #expect(range.first.value >= end && !range.isEmpty)
            end = range.end.value
            count += 1
        }
        #expect(count == map.count)
        #expect(map.chunks.allSatisfy { !$0.isEmpty && $0.count <= IntervalMap<Piece>.chunkEntriesMax })
        #expect(map.firsts == map.chunks.map { $0[0].first })
    }

    @Test func writingInOrderLeavesFullChunks() {
        var map = IntervalMap<Piece>()
        for write in 0..<10_000 {
            map.set(BlockRange(first: BlockIndex(UInt64(write) * 2), count: 2), Piece(write: write, offset: 0))
        }
        #expect(map.count == 10_000)
        #expect(map.chunks.count <= 10_000 / (IntervalMap<Piece>.chunkEntriesMax - 2) + 1)
    }

    @Test func anEmptyMapHoldsNothing() {
        var map = IntervalMap<Piece>()
        map.remove(BlockRange(first: BlockIndex(0), count: 10))
        map.set(BlockRange(first: BlockIndex(5), count: 0), Piece(write: 1, offset: 0))
        #expect(map.isEmpty && map.count == 0 && map.value(at: BlockIndex(5)) == nil)
        map.set(BlockRange(first: BlockIndex(5), count: 1), Piece(write: 1, offset: 0))
        map.remove(BlockRange(first: BlockIndex(0), count: 10))
        #expect(map.isEmpty && map.chunks.isEmpty)
    }
}
