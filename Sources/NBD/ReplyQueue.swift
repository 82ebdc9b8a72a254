import StoreCore

/// The way out of a connection: replies from its reader thread and from tasks, and the bounds on what is under way.
///
/// Whoever adds a reply while nobody sends becomes the sender until the queue is empty; so replies that become ready
/// together leave together. A task that would have to block hands the sending to the connection's writer thread, which
/// is started when it is first needed. The monitor guards all state; it is never held while sending.
final class ReplyQueue: @unchecked Sendable {
    private enum Sender { case nobody, somebody, writerWanted }
    private struct State {
        var queue: [ReplyPart] = []
        var queuedBytes = 0
        var sender = Sender.nobody
        /// The stream failed: what is queued is dropped.
        var isBroken = false
        var requestsInFlight = 0
        var heldBytes = 0
        var hasWriter = false
        var isClosed = false
    }
    private static let partsPerCall = 64

    private let transport: any Transport
    private let limits: NBDLimits
    private let budget: MemoryBudget
    private let state = Monitor(State())

    init(_ transport: any Transport, _ limits: NBDLimits, _ budget: MemoryBudget) {
        self.transport = transport
        self.limits = limits
        self.budget = budget
    }

    var requestsInFlight: Int { state.withLock { $0.requestsInFlight } }
    private var isBroken: Bool { state.withLock { $0.isBroken } }

    // MARK: Bounds

    /// Counts a request in. Blocks the reader's thread while there is too much under way: backpressure.
    /// False when the stream failed meanwhile.
    func admit(bytes: Int) -> Bool {
        let first: Bool? = state.wait { state -> Bool?? in
            if state.isBroken { return .some(nil) }
            let holdsNothing = state.heldBytes == 0
            guard state.requestsInFlight < limits.requestsInFlightMax,
                holdsNothing || state.heldBytes + bytes <= limits.connectionBytesMax
            else { return nil }
            state.requestsInFlight += 1
            state.heldBytes += bytes
            return holdsNothing
        }
        guard let first else { return false }
        guard bytes > 0 else { return true }
        if budget.acquire(bytes, unconditionally: first, isCancelled: { isBroken }) { return true }
        state.withLock {
            $0.requestsInFlight -= 1
            $0.heldBytes -= bytes
        }
        return false
    }

    /// Whether `admit` might have to wait.
    func isFull(adding bytes: Int) -> Bool {
        state.withLock {
            $0.requestsInFlight >= limits.requestsInFlightMax
                || bytes > 0 && $0.heldBytes + bytes > limits.connectionBytesMax
        } || budget.isFull(adding: bytes)
    }

    /// Counts a request out whose reply went another way than `complete`.
    func withdraw(bytes: Int) { settle(requests: 1, bytes: bytes) }

    private func settle(requests: Int, bytes: Int) {
        guard requests > 0 || bytes > 0 else { return }
        state.withLock {
            $0.requestsInFlight -= requests
            $0.heldBytes -= bytes
        }
        state.wakeAll()
        budget.release(bytes)
    }

    // MARK: Sending

    /// Sends a batch from the reader's thread, which may block. False when the stream failed.
    func send(_ batch: UnsafeRawBufferPointer) -> Bool {
        let isMine: Bool? = state.withLock { state in
            if state.isBroken { return nil }
            if state.sender == .nobody {
                state.sender = .somebody
                return true
            }
            state.queue.append(ReplyPart(copying: batch))
            state.queuedBytes += batch.count
            return false
        }
        guard let isMine else { return false }
        guard isMine else { return waitForRoom() }
        do { try transport.send(batch) } catch {
            fail()
            return false
        }
        drain(mayBlock: true)
        return true
    }

    private func waitForRoom() -> Bool {
        state.wait { $0.isBroken ? false : $0.queuedBytes <= NBDLimits.queuedBytesMax ? true : nil }
    }

    /// Adds the whole reply of an admitted request.
    /// - Parameter mayBlock: false for tasks, true in the reader's thread.
    func complete(_ parts: [ReplyPart], heldBytes: Int, mayBlock: Bool) {
        guard var last = parts.last else { preconditionFailure("a reply has bytes") }
        last.heldBytes = heldBytes
        last.completesRequest = true
        let outcome: (mustSettle: Bool, isMine: Bool) = state.withLock { state in
            if state.isBroken { return (true, false) }
            state.queue.append(contentsOf: parts.dropLast())
            state.queue.append(last)
            for part in parts { state.queuedBytes += part.count }
            guard state.sender == .nobody else { return (false, false) }
            state.sender = .somebody
            return (false, true)
        }
        if outcome.mustSettle { settle(requests: 1, bytes: heldBytes) }
        if outcome.isMine { drain(mayBlock: mayBlock) }
    }

    /// The sender's work until the queue is empty.
    private func drain(mayBlock: Bool) {
        while var parts = takeParts() {
            do { try transmit(&parts, mayBlock: mayBlock) } catch {
                discard(parts)
                return fail()
            }
            guard parts.isEmpty else { return handOver(parts) }
        }
    }

    /// The next parts, or nil when there are none and the sender's role was given up.
    private func takeParts() -> [ReplyPart]? {
        let parts: [ReplyPart]? = state.withLock { state in
            guard !state.queue.isEmpty else {
                state.sender = .nobody
                return nil
            }
            let parts = Array(state.queue.prefix(Self.partsPerCall))
            state.queue.removeFirst(parts.count)
            for part in parts { state.queuedBytes -= part.count }
            return parts
        }
        state.wakeAll()
        return parts
    }

    /// Sends, and leaves in `parts` what could not be sent without blocking.
    private func transmit(_ parts: inout [ReplyPart], mayBlock: Bool) throws {
        while let first = parts.first {
            var sent = try withExtendedLifetime(parts) { try transport.trySend(parts.map(\.bytes)) }
            if sent == 0 {
                guard mayBlock else { return }
                try withExtendedLifetime(first) { try transport.send(first.bytes) }
                sent = first.count
            }
            strike(sent, from: &parts)
        }
    }

    private func strike(_ sent: Int, from parts: inout [ReplyPart]) {
        var left = sent
        var requests = 0
        var bytes = 0
        var gone = 0
        while gone < parts.count, parts[gone].count <= left {
            left -= parts[gone].count
            requests += parts[gone].completesRequest ? 1 : 0
            bytes += parts[gone].heldBytes
            gone += 1
        }
        parts.removeFirst(gone)
        if left > 0 { parts[0].advance(by: left) }
        settle(requests: requests, bytes: bytes)
    }

    /// Puts back what is left and leaves the sender's role to the writer thread.
    private func handOver(_ rest: [ReplyPart]) {
        let mustStart = state.withLock { state in
            state.queue.insert(contentsOf: rest, at: 0)
            for part in rest { state.queuedBytes += part.count }
            state.sender = .writerWanted
            defer { state.hasWriter = true }
            return !state.hasWriter
        }
        state.wakeAll()
        guard mustStart else { return }
        do {
            try DedicatedThread.run("nbd-writer") { self.write() }
        } catch {
            state.withLock { $0.hasWriter = false }
            fail()
        }
    }

    /// The writer thread's life.
    private func write() {
        while true {
            let isWanted = state.wait { state -> Bool? in
                if state.sender == .writerWanted {
                    state.sender = .somebody
                    return true
                }
                return state.isClosed ? false : nil
            }
            guard isWanted else { break }
            drain(mayBlock: true)
        }
        state.withLock { $0.hasWriter = false }
        state.wakeAll()
    }

    // MARK: Ending

    /// Drops everything and ends the stream; replies to come are dropped as well. Called by the sender, or by `abort`.
    private func fail() {
        transport.abort()
        let dropped = state.withLock { state in
            state.isBroken = true
            state.sender = .nobody
            state.queuedBytes = 0
            defer { state.queue = [] }
            return state.queue
        }
        discard(dropped)
        state.wakeAll()
        budget.wakeAll()
    }

    private func discard(_ parts: [ReplyPart]) {
        settle(
            requests: parts.count { $0.completesRequest }, bytes: parts.reduce(0) { $0 + $1.heldBytes })
    }

    /// Blocks the thread until every admitted request was answered and every reply sent, or dropped.
    func waitUntilIdle() {
        state.wait { $0.requestsInFlight == 0 && $0.queue.isEmpty && $0.sender == .nobody ? () : nil }
    }

    /// Ends the writer thread. Only when idle.
    func close() {
        state.withLock { $0.isClosed = true }
        state.wakeAll()
        state.wait { $0.hasWriter ? nil : () }
    }
}
