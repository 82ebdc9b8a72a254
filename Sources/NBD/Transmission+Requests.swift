import StoreCore

extension Transmission {
    /// Serves the request whose header lies at the start of the input, and consumes it and its payload.
    @inline(__always)
    mutating func serve(_ request: Request) {
        switch request.command {
        case .read: read(request)
        case .write: write(request)
        case .disconnect: end = .disconnected
        default: serveOther(request)
        }
    }

    /// The error that answers a request without asking the device; nil when it may be served.
    @inline(__always)
    private mutating func refusal(_ request: Request) -> Refusal? {
        if let code = connection.lateError {
            return Refusal(code, code == .shutdown ? "the server is shutting down" : "the export has failed")
        }
        guard let refusal = RequestCheck.refusal(request, terms, size: size) else { return nil }
        // The device may have grown since the client connected.
        guard device.size != size else { return refusal }
        size = device.size
        return RequestCheck.refusal(request, terms, size: size)
    }

    /// Answers with an error; the payload, if any, is consumed unseen.
    private mutating func reject(_ request: Request, _ refusal: Refusal) {
        input.consume(headerBytes)
        let payload = RequestParser.payloadBytes(request, terms.mode)
        if RequestParser.isAbusive(payloadBytes: payload, terms.mode) {
            end = .violation
            return
        }
        skip(payload)
        if end == nil { refuse(request, refusal) }
    }

    // MARK: Read

    @inline(__always)
    private mutating func read(_ request: Request) {
        if let refusal = refusal(request) { return reject(request, refusal) }
        input.consume(headerBytes)
        let count = Int(request.length)
        guard count <= NBDLimits.inlineBytesMax else { return readLarge(request) }
        guard count > 0 else {
            reserve(ReplyEncoder.successBytesMax)
            return batch.add(encoder.emptyRead(request, at: batch.place))
        }
        reserve(encoder.dataHeaderBytes + count)
        let data = UnsafeMutableRawBufferPointer(start: batch.place + encoder.dataHeaderBytes, count: count)
        do {
            guard try device.readNow(at: request.offset, into: data) else { return dispatch(request, holding: count) }
        } catch {
            return refuse(request, error)
        }
        reads.requests += 1
        reads.bytes &+= request.length
        if ReadReply.mayHaveHoles(request, terms.mode) {
            let chunks = ReadLayout.chunks(UnsafeRawBufferPointer(data), offset: request.offset)
            if !chunks.isEmpty { return addChunks(request, chunks, data) }
        }
        batch.add(
            encoder.dataHeader(request, offset: request.offset, count: count, isLast: true, at: batch.place) + count)
    }

    /// Moves the data together, with the chunks' headers between: a hole's space is larger than the headers it costs.
    private mutating func addChunks(_ request: Request, _ chunks: [ReadChunk], _ data: UnsafeMutableRawBufferPointer) {
        guard let base = data.baseAddress else { return }
        for (index, chunk) in chunks.enumerated() {
            let offset = request.offset + UInt64(chunk.range.lowerBound)
            let count = chunk.range.count
            let isLast = index == chunks.count - 1
            if chunk.isHole {
                batch.add(encoder.hole(request, offset: offset, count: count, isLast: isLast, at: batch.place))
            } else {
                (batch.place + encoder.dataHeaderBytes).copyMemory(
                    from: base + chunk.range.lowerBound, byteCount: count)
                batch.add(encoder.dataHeader(request, offset: offset, count: count, isLast: isLast, at: batch.place))
                batch.add(count)
            }
        }
    }

    /// A read that has no room in the batch: its buffer goes to the socket itself.
    private mutating func readLarge(_ request: Request) {
        let count = Int(request.length)
        guard admit(count) else { return }
        var buffer = largeBuffer(count)
        do {
            guard try buffer.withMutableBytes({ try device.readNow(at: request.offset, into: $0) }) else {
                keepSpare(&buffer)
                return start(request, payload: nil, holding: count)
            }
        } catch {
            connection.replies.withdraw(bytes: count)
            return refuse(request, error)
        }
        reads.requests += 1
        reads.bytes &+= request.length
        send()
        connection.replies.complete(ReadReply.parts(request, buffer, encoder), heldBytes: count, mayBlock: true)
        keepSpare(&buffer)
    }

    private mutating func largeBuffer(_ count: Int) -> IOBuffer {
        defer { spare = nil }
        if let spare, spare.count == count { return spare }
        return IOBuffer(count: count)
    }

    /// Large allocations cost page faults: the last one serves again, unless somebody still reads it.
    private mutating func keepSpare(_ buffer: inout IOBuffer) {
        if buffer.count <= NBDLimits.spareBytesMax, isKnownUniquelyReferenced(&buffer) { spare = buffer }
    }

    // MARK: Write

    @inline(__always)
    private mutating func write(_ request: Request) {
        if let refusal = refusal(request) { return reject(request, refusal) }
        let count = Int(request.length)
        guard count <= NBDLimits.inlineBytesMax else { return writeLarge(request) }
        guard gather(headerBytes + count) else { return }
        let payload = UnsafeRawBufferPointer(start: input.bytes + headerBytes, count: count)
        do {
            if request.flags.contains(.fua) || count == 0 {
                finishLater(request, payload)
            } else if try device.writeNow(at: request.offset, from: payload) {
                writes.requests += 1
                writes.bytes &+= request.length
                succeed(request)
            } else {
                finishLater(request, payload)
            }
        } catch {
            refuse(request, error)
        }
        input.consume(headerBytes + count)
    }

    private mutating func finishLater(_ request: Request, _ payload: UnsafeRawBufferPointer) {
        if payload.isEmpty { return succeed(request) }
        guard admit(payload.count) else { return }
        let buffer = IOBuffer(count: payload.count)
        buffer.withMutableBytes { $0.copyMemory(from: payload) }
        start(request, payload: buffer, holding: payload.count)
    }

    private mutating func writeLarge(_ request: Request) {
        let count = Int(request.length)
        input.consume(headerBytes)
        guard admit(count) else { return }
        var buffer = largeBuffer(count)
        guard fill(buffer) else { return connection.replies.withdraw(bytes: count) }
        do {
            if try !request.flags.contains(.fua)
                && buffer.withBytes({ try device.writeNow(at: request.offset, from: $0) })
            {
                writes.requests += 1
                writes.bytes &+= request.length
                succeed(request)
            } else {
                return start(request, payload: buffer, holding: count)
            }
        } catch {
            refuse(request, error)
        }
        keepSpare(&buffer)
        connection.replies.withdraw(bytes: count)
    }

    // MARK: Others

    private mutating func serveOther(_ request: Request) {
        if let refusal = refusal(request) { return reject(request, refusal) }
        if request.flags.contains(.payloadLength) { return statusWithPayload(request) }
        input.consume(headerBytes)
        switch request.command {
        case .trim, .writeZeroes, .cache:
            if request.length == 0 { return succeed(request) }
        default: break
        }
        dispatch(request, holding: 0, effectLength: request.length)
    }

    /// The one command besides WRITE whose payload means something.
    private mutating func statusWithPayload(_ request: Request) {
        // Nothing else bounds it: a client may say up to 2^64 - 1.
        guard request.length <= UInt64(NBDLimits.statusPayloadBytesMax) else {
            return reject(request, Refusal(.invalid, "the payload is longer than any of this command"))
        }
        let count = Int(request.length)
        guard gather(headerBytes + count) else { return }
        let payload = StatusPayload(UnsafeRawBufferPointer(start: input.bytes + headerBytes, count: count))
        input.consume(headerBytes + count)
        guard let payload else { return refuse(request, Refusal(.invalid, "the payload is malformed")) }
        let size = device.size
        guard payload.effectLength > 0, request.offset <= size, payload.effectLength <= size - request.offset else {
            return refuse(request, Refusal(.invalid, "the request reaches beyond the end of the export"))
        }
        guard payload.wantsAllocation else { return succeed(request) }
        dispatch(request, holding: 0, effectLength: payload.effectLength)
    }

    // MARK: Tasks

    /// Waits until the bounds allow for the request; what is ready is sent first. False when the stream failed.
    private mutating func admit(_ bytes: Int) -> Bool {
        if connection.replies.isFull(adding: bytes), !send() { return false }
        if connection.replies.admit(bytes: bytes) { return true }
        end = .lost
        return false
    }

    private mutating func dispatch(_ request: Request, holding bytes: Int, effectLength: UInt64 = 0) {
        guard admit(bytes) else { return }
        start(request, payload: nil, holding: bytes, effectLength: effectLength)
    }

    private func start(_ request: Request, payload: IOBuffer?, holding bytes: Int, effectLength: UInt64 = 0) {
        let slow = SlowRequest(
            request: request, payload: payload, heldBytes: bytes, effectLength: effectLength, arrivedAt: arrivedAt)
        connection.start(slow, device, encoder, recorder)
    }
}
