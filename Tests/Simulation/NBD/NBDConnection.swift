import NBD
import StoreCore

/// One connection of a client: handshake, many requests at once, and a close look at every reply.
final class NBDConnection: @unchecked Sendable {
    enum Mode: CaseIterable, Sendable { case simple, structured, extended }

    let mode: Mode
    /// Of the export, in bytes, as the handshake said.
    private(set) var size: UInt64 = 0
    private(set) var isUp = false
    /// Nobody waits for replies any more.
    private var hasEnded = false
    private let scheduler: Scheduler
    private let stream: SimulatedStream
    /// Ends when the server is done with the connection and all of its requests.
    private let served: Task<Void, any Error>

    var input: [UInt8] = []
    private var inputStart = 0
    private var reader: UnsafeContinuation<Void, Never>?
    var waiting: [UInt64: Waiting] = [:]
    private var lastCookie: UInt64 = 0
    var hasAllocationContext = false

    /// A request that has no final answer yet.
    struct Waiting {
        var request: NBDRequest
        var continuation: UnsafeContinuation<[UInt8], any Error>
        /// A read's bytes so far, and which of them came.
        var data: [UInt8] = []
        var isFilled: [Range<Int>] = []
        var refusal: NBDRefusal?
    }

    /// Connects; `open` makes it usable.
    init(to server: NBDServer, _ scheduler: Scheduler, _ process: SimulatedProcess, _ plan: NBDPlan) {
        self.scheduler = scheduler
        mode = Mode.allCases[Int(scheduler.random.next() % 3)]
        let stream = SimulatedStream(scheduler, process, plan)
        self.stream = stream
        served = Task { try await server.serve(over: stream) }
        stream.onBytes = { [unowned self] in
            input += $0
            wakeReader()
        }
        stream.onEnd = { [unowned self] in wakeReader() }
    }

    /// Shakes hands and reads replies from then on. Throws `NBDRefusal` where the export is refused.
    func open(_ export: String) async throws {
        do { try await shakeHands(export) } catch {
            stream.cut()
            await end()
            throw error
        }
        isUp = true
        Task {
            // It ends with the stream only, and then there is nothing more to read.
            do { while true { try await receiveReply() } } catch { await self.end() }
        }
    }

    /// Sends a request and returns what a read read. Throws `NBDRefusal` and `NBDConnectionLost`.
    func perform(_ request: NBDRequest) async throws -> [UInt8] {
        guard isUp else { throw NBDConnectionLost() }
        return try await withUnsafeThrowingContinuation { continuation in
            lastCookie += 1
            var entry = Waiting(request: request, continuation: continuation)
            if request.command == .read { entry.data = [UInt8](repeating: 0, count: Int(request.length)) }
            waiting[lastCookie] = entry
            send(encode(request, cookie: lastCookie))
        }
    }

    /// Ends the connection, in order or not, and returns when the server is done with it.
    func close() async {
        if isUp, scheduler.chance(0.7) {
            send(encode(NBDRequest(command: .disconnect), cookie: 0))
        } else {
            stream.cut()
        }
        await end()
    }

    private func encode(_ request: NBDRequest, cookie: UInt64) -> [UInt8] {
        let hasLongHeader = mode == .extended
        var flags: UInt16 = request.fua ? 1 : 0
        if hasLongHeader, request.command == .write { flags |= 1 << 5 }
        return BigEndian.bytes(hasLongHeader ? 0x21e4_1c71 as UInt32 : 0x2560_9513) + BigEndian.bytes(flags)
            + BigEndian.bytes(request.command.rawValue) + BigEndian.bytes(cookie) + BigEndian.bytes(request.offset)
            + (hasLongHeader ? BigEndian.bytes(request.length) : BigEndian.bytes(UInt32(request.length)))
            + request.payload
    }

    /// What is waited for fails when the server is done with it: only then it is known that nothing comes after.
    private func end() async {
        isUp = false
        // How the server fared with a stream that was ended is not the question.
        do { try await served.value } catch { scheduler.note("serving: \(error)") }
        stream.cut()
        hasEnded = true
        let lost = waiting.sorted { $0.key < $1.key }
        waiting = [:]
        for (_, entry) in lost { entry.continuation.resume(throwing: NBDConnectionLost()) }
    }

    /// The server broke the protocol.
    func breach(_ what: String) -> NBDConnectionLost {
        scheduler.fail(Violation("NBD: \(what)"))
        return NBDConnectionLost()
    }

    // MARK: Bytes

    func send(_ bytes: [UInt8]) { stream.sendToServer(bytes) }

    func read(_ count: Int) async throws -> ArraySlice<UInt8> {
        while input.count - inputStart < count {
            if stream.isCut { throw NBDConnectionLost() }
            await withUnsafeContinuation { reader = $0 }
        }
        if hasEnded { throw NBDConnectionLost() }
        let bytes = input[inputStart..<inputStart + count]
        inputStart += count
        if inputStart == input.count {
            input = []
            inputStart = 0
        }
        return bytes
    }
    func read<T: FixedWidthInteger>(_ type: T.Type = T.self) async throws -> T {
        BigEndian.number(try await read(T.bitWidth / 8))
    }
    private func wakeReader() {
        reader?.resume()
        reader = nil
    }

    // MARK: Handshake

    private func shakeHands(_ export: String) async throws {
        guard try await read(18).starts(with: "NBDMAGICIHAVEOPT".utf8) else { throw breach("the greeting") }
        send(BigEndian.bytes(3 as UInt32))
        if mode != .simple { _ = try await option(mode == .extended ? 11 : 8) }
        if scheduler.chance(0.2) { _ = try await option(3) }
        let named = BigEndian.text(export)
        if scheduler.chance(0.2) { _ = try await option(6, named + [0, 0]) }
        if mode != .simple {
            let replies = try await option(10, named + BigEndian.bytes(1 as UInt32) + BigEndian.text("base:allocation"))
            hasAllocationContext = replies.contains { $0.type == 4 }
        }
        let infos = try await option(7, named + [0, 0])
        guard let info = infos.first(where: { $0.data.starts(with: [0, 0]) && $0.data.count == 12 }) else {
            throw breach("no size in the answer to GO")
        }
        size = BigEndian.number(info.data[2..<10])
    }

    /// Replies to an option but the final one; throws where that is an error.
    private func option(_ code: UInt32, _ data: [UInt8] = []) async throws -> [(type: UInt32, data: [UInt8])] {
        send(Array("IHAVEOPT".utf8) + BigEndian.bytes(code) + BigEndian.bytes(UInt32(data.count)) + data)
        var replies: [(UInt32, [UInt8])] = []
        while true {
            guard try await read(UInt64.self) == 0x0003_e889_0455_65a9, try await read(UInt32.self) == code else {
                throw breach("the reply to option \(code)")
            }
            let type = try await read(UInt32.self)
            let data = Array(try await read(Int(try await read(UInt32.self))))
            if type == 1 { return replies }
            if type & 0x8000_0000 != 0 { throw NBDRefusal(number: type, text: String(decoding: data, as: UTF8.self)) }
            replies.append((type, data))
        }
    }
}
