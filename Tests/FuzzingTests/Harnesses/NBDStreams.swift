import NBD
import StoreCore
import Synchronization

extension Harness {
    static let nbd: [Harness] = [
        Harness(
            // Everything from the client's first byte on.
            name: "nbd-handshake", memory: { (16 << 20) + 4096 * $0 }, words: optionWords,
            seeds: {
                let flags: [UInt8] = [0, 0, 0, 3]
                let all = (0...3).map { Client.start(mode: UInt8($0)) }
                let options = [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 77].map { Client.option($0, Client.inquiry) }
                return (all + options.map { flags + $0 }).map { [0] + $0 }
            },
            body: { input in
                var choices = Choices(input)
                let pace = choices.byte()
                try NBDTarget(pace: pace).serve(choices.all())
            }),
        Harness(
            // A handshake that succeeds, then whatever comes.
            name: "nbd-transmission", memory: { (64 << 20) + 64 * 1024 * $0 }, words: requestWords,
            seeds: {
                let simple = Client.requests(isExtended: false), extended = Client.requests(isExtended: true)
                return [[0] + simple, [1] + simple, [2] + extended, [5] + simple, [14] + extended]
            },
            body: { input in
                var choices = Choices(input)
                let mode = choices.byte()
                let pace = choices.byte()
                try NBDTarget(pace: pace).serve(Client.start(mode: mode) + choices.all())
            }),
    ]

    private static let optionWords = ["IHAVEOPT", "disk", "fixed", "base:allocation", "base:", "qemu:dirty-bitmap:x"]
    private static let requestWords: [String] = []
}

/// Bytes as a client sends them.
private enum Client {
    static func number<T: FixedWidthInteger>(_ value: T) -> [UInt8] { withUnsafeBytes(of: value.bigEndian, Array.init) }
    static func text(_ text: String) -> [UInt8] { number(UInt32(text.utf8.count)) + Array(text.utf8) }
    static func option(_ code: UInt32, _ data: [UInt8] = []) -> [UInt8] {
        Array("IHAVEOPT".utf8) + number(code) + number(UInt32(data.count)) + data
    }
    static let inquiry = text("disk") + number(UInt16(2)) + number(UInt16(1)) + number(UInt16(3))

    /// Bits 0 and 1: simple, structured, extended, extended with the context; bit 2: the read-only export.
    static func start(mode: UInt8) -> [UInt8] {
        let name = mode & 4 == 0 ? "disk" : "fixed"
        var bytes: [UInt8] = [0, 0, 0, 3]
        switch mode & 3 {
        case 1: bytes += option(8)
        case 2, 3: bytes += option(11)
        default: break
        }
        if mode & 3 != 0, mode & 8 == 0 {
            bytes += option(10, text(name) + number(UInt32(1)) + text("base:allocation"))
        }
        return bytes + option(7, text(name) + number(UInt16(0)))
    }

    /// One of each command, with data where it has some, and the end.
    static func requests(isExtended: Bool) -> [UInt8] {
        func request(_ command: UInt16, _ flags: UInt16, _ offset: UInt64, _ length: UInt32, _ data: [UInt8] = [])
            -> [UInt8]
        {
            let magic = isExtended ? number(UInt32(0x21e4_1c71)) : number(UInt32(0x2560_9513))
            let lengthBytes = isExtended ? number(UInt64(length)) : number(length)
            let payload: UInt16 = isExtended && !data.isEmpty ? 32 : 0
            return magic + number(flags | payload) + number(command) + number(UInt64(command)) + number(offset)
                + lengthBytes + data
        }
        let block = [UInt8](repeating: 0x5a, count: 600)
        return request(1, 0, 4000, 600, block) + request(0, 0, 3000, 2000) + request(3, 0, 0, 0)
            + request(4, 1, 0, 4096) + request(6, 2, 8192, 100) + request(5, 0, 0, 65536) + request(7, 8, 0, 1 << 18)
            + request(1, 1, 0, 600, block) + request(0, 4, 0, 1 << 17) + request(9, 0, 0, 0)
            + (isExtended ? request(7, 0, 0, 12, number(UInt64(8192)) + number(UInt32(1))) : [])
            + request(2, 0, 0, 0)
    }
}

/// A server and its two small devices, for one input.
private struct NBDTarget {
    private let directory: SmallDirectory
    private let pace: UInt8

    /// - Parameter pace: how input is cut into pieces, and whether devices answer at once.
    init(pace: UInt8) {
        self.pace = pace
        directory = SmallDirectory(answersNow: pace & 0x80 == 0)
    }

    func serve(_ input: [UInt8]) throws {
        let stream = MemoryStream(input, pieceBytes: pace & 0x3f == 0 ? .max : 1 << (Int(pace & 0x3f) % 14))
        let server = NBDServer(directory)
        try wait { try await server.serve(over: stream) }
        require(directory.attached.withLock { $0 } == 0, "each device that was attached was given back")
        let sent = stream.sent
        require(sent.starts(with: "NBDMAGICIHAVEOPT".utf8), "the server greets")
        // A read of the whole device takes 28 bytes to ask for.
        require(
            sent.count <= 4096 + 2048 * input.count + input.count / 28 * SmallDevice.byteCount, "replies are bounded")
    }
}

private final class SmallDirectory: DeviceDirectory {
    let attached = Mutex(0)
    private let answersNow: Bool
    init(answersNow: Bool) { self.answersNow = answersNow }

    func exportNames() async throws -> [String] { ["disk", "fixed"] }
    func describe(_ name: String) async throws -> DeviceDescription {
        try check(name)
        return DeviceDescription(
            name: name, summary: "small", size: UInt64(SmallDevice.byteCount), isReadOnly: name == "fixed")
    }
    func attach(_ name: String) async throws -> any BlockDevice {
        try check(name)
        attached.withLock { $0 += 1 }
        return SmallDevice(name: name, isReadOnly: name == "fixed", answersNow: answersNow)
    }
    func attach(_ name: String, for client: DeviceClient) async throws -> any BlockDevice { try await attach(name) }
    func detach(_ device: any BlockDevice) async { attached.withLock { $0 -= 1 } }

    private func check(_ name: String) throws(StorageError) {
        guard name == "disk" || name == "fixed" else { throw StorageError(.notFound, "there is no export '\(name)'") }
    }
}

/// A device in memory that insists on its bounds.
private final class SmallDevice: BlockDevice {
    static let byteCount = 64 << 10
    let name: String
    let summary = "small"
    let isReadOnly: Bool
    private let answersNow: Bool
    private let bytes = Mutex([UInt8](repeating: 0, count: byteCount))

    init(name: String, isReadOnly: Bool, answersNow: Bool) {
        self.name = name
        self.isReadOnly = isReadOnly
        self.answersNow = answersNow
    }
    var size: UInt64 { UInt64(Self.byteCount) }

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

/// A client that has said all it will say, and takes every reply.
private final class MemoryStream: Transport {
    let peer = "memory"
    private let pieceBytes: Int
    private struct State {
        var input: ArraySlice<UInt8>
        var sent: [UInt8] = []
        var isStopped = false
        var isAborted = false
    }
    private let state: Mutex<State>

    init(_ input: [UInt8], pieceBytes: Int) {
        self.pieceBytes = pieceBytes
        state = Mutex(State(input: input[...]))
    }
    var sent: [UInt8] { state.withLock { $0.sent } }

    func receive(into buffer: UnsafeMutableRawBufferPointer, within nanoseconds: UInt64?) throws -> Int? {
        try state.withLock { state in
            if state.isAborted { throw StorageError(.unavailable, "the stream was ended") }
            guard !state.isStopped else { return 0 }
            let piece = state.input.prefix(min(pieceBytes, buffer.count))
            buffer.copyBytes(from: piece)
            state.input = state.input.dropFirst(piece.count)
            return piece.count
        }
    }
    func send(_ bytes: UnsafeRawBufferPointer) throws {
        try state.withLock { state in
            if state.isAborted { throw StorageError(.unavailable, "the stream was ended") }
            state.sent += bytes
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
