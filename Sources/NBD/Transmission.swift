import StoreCore

/// The transmission phase on a connection's thread: parses ahead, answers at once what the device can, hands the rest
/// to tasks, and sends the replies that are ready in one call when the requests run dry.
struct Transmission: ~Copyable {
    enum End {
        /// The client said DISC.
        case disconnected
        /// The server ends the connection.
        case ending
        /// The stream ended or failed without a word.
        case lost
        /// Bytes that are no request, or a payload beyond the permitted: nothing after it can be framed.
        case violation
    }

    let connection: Connection
    let device: any BlockDevice
    let terms: ExportTerms
    let encoder: ReplyEncoder
    let recorder: (any NBDRecorder)?
    let headerBytes: Int

    var input = ReceiveBuffer(capacity: NBDLimits.batchBufferBytes)
    var batch = ReplyBatch(capacity: NBDLimits.batchBufferBytes)
    var size: UInt64
    /// When the requests that are being answered arrived; 0 when nobody records it.
    var arrivedAt: UInt64 = 0
    var reads = Tally()
    var writes = Tally()
    /// Set when the connection cannot go on; the loop ends.
    var end: End?
    /// The last large request's buffer, to be used again.
    var spare: IOBuffer?

    /// Requests answered in this thread since the last send.
    struct Tally {
        var requests = 0
        var failures = 0
        var bytes: UInt64 = 0
    }

    init(
        _ connection: Connection, _ device: any BlockDevice, _ agreement: Handshake.Agreement,
        _ recorder: (any NBDRecorder)?, received: [UInt8]
    ) {
        self.connection = connection
        self.device = device
        self.recorder = recorder
        terms = ExportTerms(
            mode: agreement.mode, isReadOnly: device.isReadOnly, hasAllocationContext: agreement.hasAllocationContext)
        encoder = ReplyEncoder(mode: agreement.mode)
        headerBytes = agreement.mode.requestHeaderBytes
        size = device.size
        input.append(received)
    }

    mutating func run() -> End {
        while true {
            while input.count >= headerBytes {
                guard let request = RequestParser.parse(input.bytes, terms.mode) else {
                    send()
                    return .violation
                }
                serve(request)
                if let end {
                    send()
                    return end
                }
            }
            guard fetch() else { return end ?? .lost }
        }
    }

    // MARK: Bytes in and out

    /// Sends what is ready, then blocks for more. False at the stream's end.
    mutating func fetch() -> Bool {
        guard send() else { return false }
        let count = receive(into: input.room())
        input.filled(count)
        return count > 0
    }

    /// Blocks for bytes; 0 at the stream's end.
    private mutating func receive(into room: UnsafeMutableRawBufferPointer) -> Int {
        var count = 0
        do { count = try connection.transport.receive(into: room, within: nil) ?? 0 } catch { end = .lost }
        if count == 0, end == nil { end = connection.lateError == nil ? .lost : .ending }
        if recorder != nil { arrivedAt = connection.context.time.monotonicNanoseconds() }
        return count
    }

    /// Receives until `count` bytes of the current request lie in the buffer.
    mutating func gather(_ count: Int) -> Bool {
        while input.count < count {
            guard fetch() else { return false }
        }
        return true
    }

    /// Takes a payload that nobody wants off the stream.
    mutating func skip(_ count: UInt64) {
        var rest = count
        while rest > 0 {
            if input.count == 0, !fetch() { return }
            let taken = min(UInt64(input.count), rest)
            input.consume(Int(taken))
            rest -= taken
        }
    }

    /// Moves a large payload into its own buffer, received without a copy as far as it was not here yet.
    mutating func fill(_ buffer: IOBuffer) -> Bool {
        var filled = buffer.withMutableBytes { input.move(to: $0) }
        guard filled == buffer.count || send() else { return false }
        while filled < buffer.count {
            let count = buffer.withMutableBytes {
                receive(into: UnsafeMutableRawBufferPointer(rebasing: $0[filled...]))
            }
            guard count > 0 else { return false }
            filled += count
        }
        return true
    }

    /// False when the stream failed.
    @discardableResult
    mutating func send() -> Bool {
        guard batch.count > 0 else { return true }
        let isSent = connection.replies.send(batch.bytes)
        batch.clear()
        if !isSent { end = .lost }
        if recorder != nil { record() }
        return isSent
    }

    /// Makes room for a reply of that size in the batch.
    @inline(__always)
    mutating func reserve(_ bytes: Int) {
        if batch.room < bytes { send() }
    }

    private mutating func record() {
        guard let recorder else { return }
        let nanoseconds = connection.context.time.monotonicNanoseconds() &- arrivedAt
        if reads.requests > 0 {
            recorder.completed(
                .read, requests: reads.requests, failures: reads.failures, bytes: reads.bytes, nanoseconds: nanoseconds)
            reads = Tally()
        }
        if writes.requests > 0 {
            recorder.completed(
                .write, requests: writes.requests, failures: writes.failures, bytes: writes.bytes,
                nanoseconds: nanoseconds)
            writes = Tally()
        }
    }

    // MARK: Replies at once

    @inline(__always)
    mutating func succeed(_ request: Request) {
        reserve(ReplyEncoder.successBytesMax)
        batch.add(encoder.success(request, at: batch.place))
    }

    mutating func refuse(_ request: Request, _ refusal: Refusal) {
        reserve(ReplyEncoder.errorBytesMax)
        batch.add(encoder.error(request, refusal, at: batch.place))
        switch request.command {
        case .read:
            reads.requests += 1
            reads.failures += 1
        case .write:
            writes.requests += 1
            writes.failures += 1
        case let other:
            guard let recorder, let operation = other.flatMap(NBDOperation.init) else { return }
            recorder.completed(operation, requests: 1, failures: 1, bytes: 0, nanoseconds: 0)
        }
    }

    /// Answers a device's error; one that has lost its volume ends the connection, so that the export fails loudly.
    mutating func refuse(_ request: Request, _ error: any Error) {
        refuse(request, Refusal(error))
        if error.storageCode == .fenced { connection.beginClosing(.inputOutput) }
    }
}
