import NBD
import StoreCore
import Synchronization

/// A server and its small devices, for one input.
struct NBDTarget {
    let directory: SmallDirectory
    private let pace: UInt8
    /// Longer than any option, and than what goes through a connection's fixed buffers.
    private static let longTailBytes = 400 << 10

    /// - Parameter pace: how input is cut into pieces (bits 0 to 5), whether its end goes on for long (6), and whether
    ///   devices must be waited for (7).
    init(pace: UInt8) {
        self.pace = pace
        directory = SmallDirectory(answersNow: pace & 0x80 == 0)
    }

    func serve(_ input: [UInt8]) throws {
        var input = input
        let last = input.suffix(64)
        if pace & 0x40 != 0, !last.isEmpty {
            for _ in 0..<(Self.longTailBytes / last.count) { input += last }
        }
        let stream = try serve(input, then: nil, security: nil)
        // A read of the whole device takes 28 bytes to ask for.
        require(
            stream.sentBytes <= 4096 + 2048 * input.count + input.count / 28 * SmallDevice.bytesMax,
            "replies are bounded")
    }

    /// The stream of a client that begins with `input`, and goes on as `client` says.
    func serve(_ input: [UInt8], then client: (any StreamClient)?, security: NBDSecurity?) throws -> MemoryStream {
        let shift = max(Int(pace & 0x3f) % 14, pace & 0x40 == 0 ? 0 : 9)
        let stream = MemoryStream(input, then: client, pieceBytes: pace & 0x3f == 0 ? .max : 1 << shift)
        let server = NBDServer(directory, security: security)
        try wait { try await server.serve(over: stream) }
        require(directory.attached.withLock { $0 } == 0, "each device that was attached was given back")
        require(stream.sent.starts(with: "NBDMAGICIHAVEOPT".utf8), "the server greets")
        return stream
    }
}

final class SmallDirectory: DeviceDirectory {
    let attached = Mutex(0)
    /// What was asked, in its order: from there on a client learns something.
    let questions = Mutex<[String]>([])
    private let answersNow: Bool
    init(answersNow: Bool) { self.answersNow = answersNow }

    func exportNames() async throws -> [String] {
        questions.withLock { $0.append("list") }
        return ["disk", "fixed", "large"]
    }
    func describe(_ name: String) async throws -> DeviceDescription {
        questions.withLock { $0.append("describe \(name)") }
        try check(name)
        return DeviceDescription(
            name: name, summary: "small", size: UInt64(SmallDevice.byteCount(name)), isReadOnly: name == "fixed")
    }
    func attach(_ name: String) async throws -> any BlockDevice {
        questions.withLock { $0.append("attach \(name)") }
        try check(name)
        attached.withLock { $0 += 1 }
        return SmallDevice(name: name, isReadOnly: name == "fixed", answersNow: answersNow)
    }
    func attach(_ name: String, for client: DeviceClient) async throws -> any BlockDevice { try await attach(name) }
    func detach(_ device: any BlockDevice) async { attached.withLock { $0 -= 1 } }

    private func check(_ name: String) throws(StorageError) {
        guard ["disk", "fixed", "large"].contains(name) else {
            throw StorageError(.notFound, "there is no export '\(name)'")
        }
    }
}

/// A device in memory that insists on its bounds.
final class SmallDevice: BlockDevice {
    static let bytesMax = 640 << 10
    static func byteCount(_ name: String) -> Int { name == "large" ? bytesMax : 64 << 10 }

    let name: String
    let summary = "small"
    let isReadOnly: Bool
    private let answersNow: Bool
    private let bytes: Mutex<[UInt8]>

    init(name: String, isReadOnly: Bool, answersNow: Bool) {
        self.name = name
        self.isReadOnly = isReadOnly
        self.answersNow = answersNow
        bytes = Mutex([UInt8](repeating: 0, count: Self.byteCount(name)))
    }
    var size: UInt64 { UInt64(Self.byteCount(name)) }

    private func range(_ offset: UInt64, _ count: UInt64, isChange: Bool = false) -> Range<Int> {
        require(offset <= size && count <= size - offset, "no request goes beyond the device")
        require(!isChange || !isReadOnly, "nobody changes what is read-only")
        return Int(offset)..<Int(offset + count)
    }
    func readNow(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws -> Bool {
        let range = range(offset, UInt64(buffer.count))
        if answersNow { bytes.withLock { buffer.copyBytes(from: $0[range]) } }
        return answersNow
    }
    func read(at offset: UInt64, into buffer: IOBuffer) async throws {
        let range = range(offset, UInt64(buffer.count))
        bytes.withLock { bytes in buffer.withMutableBytes { $0.copyBytes(from: bytes[range]) } }
    }
    func writeNow(at offset: UInt64, from source: UnsafeRawBufferPointer) throws -> Bool {
        let range = range(offset, UInt64(source.count), isChange: true)
        if answersNow { bytes.withLock { $0.replaceSubrange(range, with: source) } }
        return answersNow
    }
    func write(at offset: UInt64, from buffer: IOBuffer, fua: Bool) async throws {
        let range = range(offset, UInt64(buffer.count), isChange: true)
        bytes.withLock { bytes in buffer.withBytes { bytes.replaceSubrange(range, with: $0) } }
    }
    func flush() async throws {}
    func trim(at offset: UInt64, count: UInt64, fua: Bool) async throws { zero(offset, count) }
    func writeZeroes(at offset: UInt64, count: UInt64, fua: Bool) async throws { zero(offset, count) }
    private func zero(_ offset: UInt64, _ count: UInt64) {
        let range = range(offset, count, isChange: true)
        bytes.withLock { $0.replaceSubrange(range, with: repeatElement(0, count: range.count)) }
    }
    func prefetch(at offset: UInt64, count: UInt64) async throws { _ = range(offset, count) }
    func status(at offset: UInt64, count: UInt64, extentsMax: Int) async throws -> [DeviceExtent] {
        _ = range(offset, count)
        let half = count / 2
        guard half > 0, extentsMax > 1 else { return [DeviceExtent(byteCount: count, isHole: false)] }
        return [DeviceExtent(byteCount: half, isHole: true), DeviceExtent(byteCount: count - half, isHole: false)]
    }
}

/// What a client sends next. Called by one thread at a time.
protocol StreamClient: AnyObject, Sendable {
    /// - Parameter sent: what the server sent since the last call.
    /// - Returns: nothing at the end.
    func answer(_ sent: [UInt8]) -> [UInt8]
}

/// A client in memory, which takes every reply.
final class MemoryStream: Transport {
    let peer = "memory"
    private let pieceBytes: Int
    /// Without one the input is all.
    private let client: (any StreamClient)?
    /// Of what was sent.
    private static let keptBytes = 1 << 20
    private struct State {
        var input: ArraySlice<UInt8>
        var sent: [UInt8] = []
        var sentBytes = 0
        /// What the client has not seen yet.
        var news: [UInt8] = []
        var isStopped = false
        var isAborted = false
    }
    private let state: Mutex<State>

    init(_ input: [UInt8], then client: (any StreamClient)?, pieceBytes: Int) {
        self.pieceBytes = pieceBytes
        self.client = client
        state = Mutex(State(input: input[...]))
    }
    /// The beginning of it.
    var sent: [UInt8] { state.withLock { $0.sent } }
    var sentBytes: Int { state.withLock { $0.sentBytes } }
    /// The client has seen all that was sent so far; says how much that is.
    func skipReplies() -> Int {
        state.withLock { state in
            state.news = []
            return state.sentBytes
        }
    }

    func receive(into buffer: UnsafeMutableRawBufferPointer, within nanoseconds: UInt64?) throws -> Int? {
        try state.withLock { state in
            if state.isAborted { throw StorageError(.unavailable, "the stream was ended") }
            guard !state.isStopped else { return 0 }
            if state.input.isEmpty, let client {
                state.input = client.answer(state.news)[...]
                state.news = []
            }
            let piece = state.input.prefix(min(pieceBytes, buffer.count))
            buffer.copyBytes(from: piece)
            state.input = state.input.dropFirst(piece.count)
            return piece.count
        }
    }
    func send(_ bytes: UnsafeRawBufferPointer) throws {
        try state.withLock { state in
            if state.isAborted { throw StorageError(.unavailable, "the stream was ended") }
            state.sent += bytes.prefix(Self.keptBytes - state.sent.count)
            state.sentBytes += bytes.count
            if client != nil { state.news += bytes }
        }
    }
    func trySend(_ parts: [UnsafeRawBufferPointer]) throws -> Int {
        for part in parts { try send(part) }
        return parts.reduce(0) { $0 + $1.count }
    }
    func stopReceiving() { state.withLock { $0.isStopped = true } }
    func abort() {
        state.withLock {
            $0.isStopped = true
            $0.isAborted = true
        }
    }
    func close() {}
}
