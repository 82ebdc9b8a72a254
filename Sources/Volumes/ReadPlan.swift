import Logging
import BlockMap
import Cache
import SegmentLog
import StoreCore

/// One read of whole blocks on its way through the layers, newest first: buffers, memtables, then the map.
struct ReadPlan {
    let range: BlockRange
    /// Not found in any layer so far.
    var holes: [BlockRange]
    /// Found in the map, not yet read.
    var located: [Extent] = []
    let layout: MapLayout

    init(_ range: BlockRange, layout: MapLayout) {
        self.range = range
        self.holes = [range]
        self.layout = layout
    }

    mutating func take(from layer: WriteBuffer, into buffer: UnsafeMutableRawBufferPointer) {
        guard !layer.isEmpty else { return }
        let start = range.byteOffset
        holes = layer.pieces.fill(holes) { part, piece in
            let from = Int(part.byteOffset - start)
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[from..<from + Int(part.byteCount)])
            switch piece {
            case .zero: target.initializeMemory(as: UInt8.self, repeating: 0)
            case .slots(let first): layer.copy(slots: first, count: Int(part.count), to: target)
            }
        }
    }
    mutating func locate(in layer: Memtable) {
        guard !holes.isEmpty else { return }
        var found: [Extent] = []
        holes = layer.intervals.fill(holes) { found.append(Extent(range: $0, mapping: $1)) }
        located += found
    }
    /// Zeroes the holes; extents that the map has there are copied over them afterwards.
    func zeroHoles(in buffer: UnsafeMutableRawBufferPointer) {
        for hole in holes {
            let from = Int(hole.byteOffset - range.byteOffset)
            UnsafeMutableRawBufferPointer(rebasing: buffer[from..<from + Int(hole.byteCount)])
                .initializeMemory(as: UInt8.self, repeating: 0)
        }
    }

    /// Completes the read if everything is in memory; false when it must wait, and then the buffer's bytes mean
    /// nothing.
    mutating func finishNow(_ context: VolumeContext, into buffer: UnsafeMutableRawBufferPointer) throws -> Bool {
        for hole in holes {
            guard let extents = try context.maps.lookupNow(hole, in: layout) else { return false }
            located += extents
        }
        zeroHoles(in: buffer)
        return located.allSatisfy { copyFromMemory($0, context, into: buffer) }
    }

    /// Completes the read from caches and store.
    mutating func finish(_ context: VolumeContext, into buffer: IOBuffer) async throws {
        try await lookUpHoles(context)
        let missing = buffer.withMutableBytes { bytes in
            zeroHoles(in: bytes)
            return located.filter { !copyFromMemory($0, context, into: bytes) }
        }
        guard !missing.isEmpty else { return }
        try await context.fetcher.read(
            missing.compactMap { extent in
                guard case .data(let location) = extent.mapping else { return nil }
                return (location, Int(extent.range.count), Int(extent.range.byteOffset - range.byteOffset))
            }, into: buffer)
    }

    mutating func lookUpHoles(_ context: VolumeContext) async throws {
        for hole in holes { located += try await context.maps.lookup(hole, in: layout) }
    }
    mutating func prefetch(_ context: VolumeContext) async throws {
        try await lookUpHoles(context)
        await context.fetcher.prefetch(
            located.compactMap { extent in
                guard case .data(let location) = extent.mapping else { return nil }
                return (location, Int(extent.range.count), 0)
            })
    }

    /// True when the extent's bytes were copied, or zeroed, without waiting.
    private func copyFromMemory(
        _ extent: Extent, _ context: VolumeContext, into buffer: UnsafeMutableRawBufferPointer
    ) -> Bool {
        let from = Int(extent.range.byteOffset - range.byteOffset)
        let target = UnsafeMutableRawBufferPointer(rebasing: buffer[from..<from + Int(extent.range.byteCount)])
        switch extent.mapping {
        case .zero:
            target.initializeMemory(as: UInt8.self, repeating: 0)
            return true
        case .data(let location):
            return context.records.copyNow(location, blocks: Int(extent.range.count), into: target)
        }
    }
}

/// A read that is not whole blocks: reads the blocks that it touches and copies its part out.
func readUnaligned(
    at offset: UInt64, into buffer: IOBuffer, readBlocks: (UInt64, IOBuffer) async throws -> Void
) async throws {
    let range = BlockRange.touching(byteOffset: offset, byteCount: UInt64(buffer.count))
    let blocks = IOBuffer(count: Int(range.byteCount))
    try await readBlocks(range.byteOffset, blocks)
    let from = Int(offset - range.byteOffset)
    blocks.withBytes { source in
        buffer.withMutableBytes {
            $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: source[from..<from + $0.count]))
        }
    }
}

func isAligned(_ offset: UInt64, _ count: UInt64) -> Bool { (offset | count) % UInt64(blockBytes) == 0 }

/// A run or segment that is gone was compacted or repacked, and collected, since its name was read: look again with the
/// current map before it counts as lost. One under a data key that is not known here may be under a new one: look for
/// it, once.
func retryingMoved<R>(_ volume: String, _ context: VolumeContext, _ body: () async throws -> R) async throws -> R {
    var tries = 0
    var hasRefreshed = false
    while true {
        do { return try await body() } catch let error as StorageError where error.code == .notFound {
            tries += 1
            guard tries <= 3 else {
                throw StorageError(.corrupt, "volume \(volume) refers to an object that is gone", cause: error)
            }
        } catch let error as StorageError where error.code == .denied && !hasRefreshed {
            hasRefreshed = true
            do { try await context.refreshKeys() } catch { context.log.debug("\(volume): \(error)") }
        }
    }
}
