/// Bytes of one request, page-aligned and of fixed size, handed from thread to thread without copying.
///
/// Exactly one owner uses a buffer at a time; handing it over is the caller's business, as with any request.
public final class IOBuffer: @unchecked Sendable {
    public let count: Int
    private let base: UnsafeMutableRawPointer
    private let size: SizeClass

    /// Uninitialised memory: fill it before it is sent anywhere.
    public init(count: Int) {
        self.count = count
        size = SizeClass(bytes: count)
        base = BufferMemory.take(size)
    }
    public convenience init(zeroed count: Int) {
        self.init(count: count)
        base.initializeMemory(as: UInt8.self, repeating: 0, count: count)
    }
    public convenience init(_ bytes: [UInt8]) {
        self.init(count: bytes.count)
        bytes.withUnsafeBytes { source in withMutableBytes { $0.copyMemory(from: source) } }
    }
    deinit { BufferMemory.give(base, size) }

    public func withBytes<R, E: Error>(_ body: (UnsafeRawBufferPointer) throws(E) -> R) throws(E) -> R {
        try body(UnsafeRawBufferPointer(start: base, count: count))
    }
    public func withMutableBytes<R, E: Error>(_ body: (UnsafeMutableRawBufferPointer) throws(E) -> R) throws(E) -> R {
        try body(UnsafeMutableRawBufferPointer(start: base, count: count))
    }
    public var array: [UInt8] { withBytes { Array($0) } }
}
