import StoreCore

/// Bytes on their way to the client, at a fixed place in memory until they are sent.
struct ReplyPart: Sendable {
    private enum Storage: Sendable {
        case heap(HeapBytes)
        case buffer(IOBuffer)
    }
    private let storage: Storage
    private var range: Range<Int>
    /// Counted against the connection and the budget until these bytes are gone.
    var heldBytes = 0
    /// The last part of a request's reply.
    var completesRequest = false

    init(copying bytes: UnsafeRawBufferPointer) {
        storage = .heap(HeapBytes(bytes))
        range = 0..<bytes.count
    }
    init(_ bytes: [UInt8]) {
        storage = .heap(bytes.withUnsafeBytes(HeapBytes.init))
        range = 0..<bytes.count
    }
    init(_ buffer: IOBuffer, _ range: Range<Int>) {
        storage = .buffer(buffer)
        self.range = range
    }

    var count: Int { range.count }

    /// The bytes that are left; valid as long as a copy of this part lives.
    var bytes: UnsafeRawBufferPointer {
        switch storage {
        case .heap(let heap): UnsafeRawBufferPointer(rebasing: heap.bytes[range])
        case .buffer(let buffer): buffer.withBytes { UnsafeRawBufferPointer(rebasing: $0[range]) }
        }
    }

    /// Strikes off the first `count` bytes.
    mutating func advance(by count: Int) { range = (range.lowerBound + count)..<range.upperBound }
}

private final class HeapBytes: @unchecked Sendable {
    private let memory: UnsafeMutableRawBufferPointer

    init(_ source: UnsafeRawBufferPointer) {
        memory = .allocate(byteCount: source.count, alignment: 8)
        memory.copyMemory(from: source)
    }
    deinit { memory.deallocate() }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(memory) }
}
