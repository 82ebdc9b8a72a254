import StoreCore

/// Performs the steps of a `Handshake` on a connection's thread.
struct HandshakeDriver {
    private let connection: Connection
    private var handshake = Handshake()
    private var device: (any BlockDevice)?
    /// Who the client is, as far as it has proven.
    private var client: NBDClient
    private let deadline: UInt64

    init(_ connection: Connection) {
        self.connection = connection
        let origin = connection.transport.origin
        client = NBDClient(origin)
        if let security = connection.context.security {
            handshake.security = security.demand(of: origin) == .required ? .required : .offered
        }
        deadline =
            connection.context.time.monotonicNanoseconds()
            + connection.context.limits.handshakeDuration.nanoseconds
    }

    /// The attached device, what was agreed, and bytes that belong to transmission already; nil when the connection
    /// ended, and then no device is attached.
    consuming func run() -> (any BlockDevice, Handshake.Agreement, [UInt8])? {
        do {
            while true {
                handshake.isShuttingDown = connection.lateError != nil
                switch handshake.next() {
                case .send(let bytes):
                    try beforeDeadline(leastNanoseconds: sendNanosecondsMin) { _ in
                        try bytes.withUnsafeBytes(connection.transport.send)
                    }
                case .needBytes: try receive()
                case .noteInjection:
                    connection.context.security?.transport.noteRefusal(
                        of: connection.transport.peer, "it sent bytes behind STARTTLS before TLS had begun")
                case .startTLS: try startTLS()
                case .ask(let question):
                    // Options that were sent ahead must not outlast the time either.
                    guard connection.context.time.monotonicNanoseconds() < deadline else { throw Ended() }
                    handshake.answer(ask(question))
                case .transmit(let agreement):
                    guard let device else { preconditionFailure("transmission needs a device") }
                    return (device, agreement, handshake.takeRemaining())
                case .close: throw Ended()
                }
            }
        } catch {
            // The stream ended or failed, or the client was slow or broke the protocol: nobody is left to tell.
            if let device { DedicatedThread.wait { [connection] in await connection.context.detach(device) } }
            return nil
        }
    }

    private struct Ended: Error {}
    /// Who minds the time itself ends in order.
    private static let abortDelay = Duration.seconds(1)

    /// For a reply, when opening an export took all the time.
    private var sendNanosecondsMin: UInt64 {
        min(connection.context.limits.handshakeDuration.nanoseconds, 10_000_000_000)
    }

    /// Lets `body` block until the handshake's time is over; then the stream is cut, which wakes it. For what waits for
    /// the client alone: opening an export takes the time that it takes.
    /// - Parameter leastNanoseconds: what it gets all the same when an export took long to open.
    private func beforeDeadline<R>(leastNanoseconds: UInt64 = 0, _ body: (UInt64) throws -> R) throws -> R {
        let now = connection.context.time.monotonicNanoseconds()
        let rest = max(now < deadline ? deadline - now : 0, leastNanoseconds)
        guard rest > 0 else { throw Ended() }
        let timer = Task { [connection] in
            // Cancelled when `body` was done in time.
            do { try await connection.context.time.sleep(for: .nanoseconds(rest) + Self.abortDelay) } catch { return }
            connection.transport.abort()
        }
        defer { timer.cancel() }
        return try body(rest)
    }

    private mutating func startTLS() throws {
        guard let security = connection.context.security,
            let transport = connection.transport as? UpgradableTransport
        else { preconditionFailure("TLS was offered, and there is none") }
        let localUserID = client.localUserID
        client = try beforeDeadline { try transport.upgrade(by: security.transport, within: $0) }
        client.localUserID = localUserID
        handshake.secured()
    }

    private mutating func receive() throws {
        let now = connection.context.time.monotonicNanoseconds()
        guard now < deadline else { throw Ended() }
        let bytes = try [UInt8](unsafeUninitializedCapacity: 4096) { buffer, count in
            count =
                try connection.transport.receive(into: UnsafeMutableRawBufferPointer(buffer), within: deadline - now)
                ?? 0
        }
        guard !bytes.isEmpty else { throw Ended() }
        handshake.receive(bytes)
    }

    private mutating func ask(_ question: Handshake.Question) -> Handshake.Answer {
        let directory = connection.context.directory(for: client, at: connection.transport.peer)
        let client = DeviceClient(peer: connection.transport.peer)
        let (answer, attached) = DedicatedThread.wait { await Self.ask(directory, client, question) }
        device = attached ?? device
        return answer
    }

    private static func ask(
        _ directory: any DeviceDirectory, _ client: DeviceClient, _ question: Handshake.Question
    ) async -> (Handshake.Answer, (any BlockDevice)?) {
        do {
            switch question {
            case .names:
                return (.names(try await directory.exportNames()), nil)
            case .describe(let name):
                return (.description(try await directory.describe(name)), nil)
            case .attach(let name):
                let device = try await directory.attach(name, for: client)
                let description = DeviceDescription(
                    name: device.name, summary: device.summary, size: device.size, isReadOnly: device.isReadOnly)
                return (.description(description), device)
            }
        } catch {
            let storageError = error as? StorageError
            return (
                .refused(storageError ?? StorageError(error.storageCode, "the export is not available", cause: error)),
                nil
            )
        }
    }
}

extension Duration {
    /// Saturating; 0 for negative durations.
    var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        let (whole, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        return overflow ? .max / 2 : whole + UInt64(attoseconds / 1_000_000_000)
    }
}
