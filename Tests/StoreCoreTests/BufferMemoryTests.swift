import Testing

@testable import StoreCore

@Suite struct BufferMemoryIsReused {
    @Test func classesGrowInOrderAndWasteAtMostAQuarter() {
        var last = SizeClass(bytes: 0)
        #expect(last.bytes == blockBytes && last.index == 0)
        for blocks in 1...(BufferMemory.classBytesMax / blockBytes) {
            let size = SizeClass(bytes: blocks * blockBytes)
            #expect(size.bytes >= blocks * blockBytes && size.bytes * 4 <= blocks * blockBytes * 5)
            #expect(size == last || size.index == last.index + 1 && size.bytes > last.bytes)
            #expect(SizeClass(bytes: blocks * blockBytes - 1) == size)
            last = size
        }
        #expect(last.bytes == BufferMemory.classBytesMax)
    }

    @Test func releasedBuffersAreKeptUpToTheBound() {
        var buffers = (0..<40).map { _ in IOBuffer(count: 4 << 20) }
        for buffer in buffers { buffer.withMutableBytes { $0[(4 << 20) - 1] = 1 } }
        buffers = []
        #expect(BufferMemory.keptBytes <= BufferMemory.keptBytesMax)
        // Larger than any class: freed, not kept.
        let huge = IOBuffer(count: BufferMemory.classBytesMax + 1)
        huge.withMutableBytes { $0[BufferMemory.classBytesMax] = 1 }
        let zeroed = IOBuffer(zeroed: 4 << 20)
        zeroed.withBytes { bytes in #expect(bytes.allSatisfy { $0 == 0 }) }
    }
}
