/// Bytes from the client that are not consumed yet, in one piece of memory. Requests are parsed where they lie.
struct ReceiveBuffer: ~Copyable {
    private let base: UnsafeMutableRawPointer
    private let capacity: Int
    private var start = 0
    private var end = 0

    init(capacity: Int) {
        self.capacity = capacity
        base = .allocate(byteCount: capacity, alignment: 64)
    }
    deinit { base.deallocate() }

    @inline(__always) var count: Int { end - start }
    @inline(__always) var bytes: UnsafeRawPointer { UnsafeRawPointer(base + start) }

    @inline(__always)
    mutating func consume(_ count: Int) {
        start += count
        if start == end {
            start = 0
            end = 0
        }
    }

    /// Where received bytes go. What is unconsumed moves to the front when the tail runs short, so that requests of up
    /// to half the capacity always fit and batches stay large.
    mutating func room() -> UnsafeMutableRawBufferPointer {
        if start > 0, capacity - end < capacity / 2 {
            base.copyMemory(from: base + start, byteCount: count)
            end -= start
            start = 0
        }
        return UnsafeMutableRawBufferPointer(start: base + end, count: capacity - end)
    }
    mutating func filled(_ count: Int) { end += count }

    mutating func append(_ bytes: [UInt8]) {
        precondition(bytes.count <= capacity - end, "what follows a handshake fits the buffer")
        (base + end).copyMemory(from: bytes, byteCount: bytes.count)
        end += bytes.count
    }
    /// Moves up to `buffer.count` bytes out; returns how many.
    mutating func move(to buffer: UnsafeMutableRawBufferPointer) -> Int {
        let moved = min(count, buffer.count)
        guard moved > 0, let target = buffer.baseAddress else { return 0 }
        target.copyMemory(from: bytes, byteCount: moved)
        consume(moved)
        return moved
    }
}

/// Replies that are ready, until they are sent in one call.
struct ReplyBatch: ~Copyable {
    private let base: UnsafeMutableRawPointer
    private let capacity: Int
    private(set) var count = 0

    init(capacity: Int) {
        self.capacity = capacity
        base = .allocate(byteCount: capacity, alignment: 64)
    }
    deinit { base.deallocate() }

    @inline(__always) var room: Int { capacity - count }
    @inline(__always) var place: UnsafeMutableRawPointer { base + count }
    @inline(__always) mutating func add(_ bytes: Int) { count += bytes }
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }
    mutating func clear() { count = 0 }
}
