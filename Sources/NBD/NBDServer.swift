import Glibc
public import StoreCore
import Synchronization

/// A client that is connected.
public struct NBDConnectionInfo: Sendable, Equatable {
    public var id: UInt64
    /// Nil during the handshake.
    public var export: String?
    /// `127.0.0.1:4711`, or `unix`.
    public var peer: String
    /// Requests that wait for the device or for their reply to be sent.
    public var requestsInFlight: Int
}

/// Serves a directory's devices over NBD. Thread-safe.
///
/// Each connection has a thread of its own and fixed buffers; what must wait runs in tasks. A device is attached when a
/// client has chosen it, and detached, once, when that connection has ended and nothing of it is in flight any more.
public final class NBDServer: Sendable {
    private let context: ConnectionContext
    private let addresses: [NBDAddress]
    private let state = Mutex(State())
    private struct State {
        var phase = Phase.idle
        var listeners: [Listener] = []
        var connections: [UInt64: Connection] = [:]
        var connectionsStarted: UInt64 = 0
        /// Resumed when the last connection has gone.
        var waiters: [CheckedContinuation<Void, Never>] = []
    }
    private enum Phase { case idle, serving, stopped }

    /// - Parameters:
    ///   - addresses: none is fine for a server that only serves descriptors.
    ///   - time: for deadlines and latencies.
    ///   - observer: of what is served; without one nothing is measured.
    ///   - security: TLS; nil refuses it.
    ///   - access: which clients may use which exports; everyone everything by default.
    public init(
        _ directory: any DeviceDirectory, listeningOn addresses: [NBDAddress] = [], limits: NBDLimits = NBDLimits(),
        time: any TimeSource = SystemTime(), observer: (any NBDObserver)? = nil, security: NBDSecurity? = nil,
        access: AccessControl = AccessControl()
    ) {
        self.addresses = addresses
        context = ConnectionContext(
            directory: directory, security: security, access: access, limits: limits,
            budget: MemoryBudget(bytesMax: limits.totalBytesMax), time: time,
            observer: observer)
    }

    deinit {
        for listener in state.withLock({ $0.listeners }) { listener.stop() }
    }

    // MARK: Life

    /// Binds and listens, and returns the addresses as bound, with the ports that were chosen. Once only.
    ///
    /// Throws `busy` where another server listens, `invalid`, `denied` or `alreadyExists` where the address cannot be
    /// used; then nothing listens.
    public func start() throws -> [NBDAddress] {
        let isFirst = state.withLock { state in
            defer { state.phase = state.phase == .idle ? .serving : state.phase }
            return state.phase == .idle
        }
        guard isFirst else { throw StorageError(.invalid, "this server was started before") }
        var listeners: [Listener] = []
        do {
            for address in addresses { listeners.append(try Listener(address)) }
            for listener in listeners { try listener.start { [weak self] in self?.accept($0) } }
        } catch {
            for listener in listeners { listener.stop() }
            throw error
        }
        let isStopped = state.withLock { state in
            state.listeners = listeners
            return state.phase == .stopped
        }
        if isStopped { for listener in listeners { listener.stop() } }
        return listeners.map(\.address)
    }

    /// Stops listening, lets what is in flight be answered, refuses what comes now with ESHUTDOWN, and closes.
    /// Returns when every device was given back.
    /// - Parameter draining: how long requests in flight may take; then they are cancelled and the connections cut.
    public func stop(draining: Duration = .seconds(10)) async {
        let (listeners, connections) = state.withLock { state in
            state.phase = .stopped
            defer { state.listeners = [] }
            return (state.listeners, Array(state.connections.values))
        }
        for listener in listeners { listener.stop() }
        for connection in connections { connection.beginClosing(.shutdown) }
        let timer = Task { [context] in
            do { try await context.time.sleep(for: draining) } catch { return }
            for connection in connections { connection.abort() }
        }
        await waitUntilEmpty()
        timer.cancel()
    }

    private func waitUntilEmpty() async {
        await withCheckedContinuation { continuation in
            let isEmpty = state.withLock { state in
                if !state.connections.isEmpty { state.waiters.append(continuation) }
                return state.connections.isEmpty
            }
            if isEmpty { continuation.resume() }
        }
    }

    // MARK: Connections

    private func accept(_ transport: SocketTransport) {
        guard let connection = register(transport, limited: true) else { return transport.close() }
        do {
            try DedicatedThread.run("nbd-\(connection.id)") { [self] in
                connection.run()
                unregister(connection)
            }
        } catch {
            // No thread to be had: the client sees its connection closed, and may try again.
            transport.close()
            unregister(connection)
        }
    }

    /// Serves one client over a stream that the caller provides, listening or not, and returns when it has gone.
    public func serve(over transport: any Transport) async throws {
        guard let connection = register(transport, limited: false) else {
            transport.close()
            throw StorageError(.cancelled, "the server is shutting down")
        }
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            do {
                try DedicatedThread.run("nbd-\(connection.id)") { [self] in
                    connection.run()
                    unregister(connection)
                    continuation.resume()
                }
            } catch {
                transport.close()
                unregister(connection)
                continuation.resume(throwing: error)
            }
        }
    }

    /// Serves one client over descriptors, say standard input and output; a socket may be both. They are closed at the
    /// end.
    public func serve(input: Int32, output: Int32) async throws {
        try await serve(over: try Self.transport(input, output))
    }

    private static func transport(_ input: Int32, _ output: Int32) throws -> any Transport {
        var (status, other) = (stat(), stat())
        let isOneSocket =
            fstat(input, &status) == 0 && fstat(output, &other) == 0 && status.st_mode & S_IFMT == S_IFSOCK
            && (status.st_dev, status.st_ino) == (other.st_dev, other.st_ino)
        guard isOneSocket else { return try PipeTransport(owningInput: input, output: output, peer: "stdio") }
        if output != input { close(output) }
        return SocketTransport(owning: input, peer: PeerSocket.prepare(input))
    }

    private func register(_ transport: any Transport, limited: Bool) -> Connection? {
        state.withLock { state in
            guard state.phase != .stopped, !limited || state.connections.count < context.limits.connectionsMax else {
                return nil
            }
            state.connectionsStarted += 1
            let connection = Connection(id: state.connectionsStarted, transport, context)
            state.connections[connection.id] = connection
            return connection
        }
    }

    private func unregister(_ connection: Connection) {
        let waiters = state.withLock { state -> [CheckedContinuation<Void, Never>] in
            state.connections[connection.id] = nil
            guard state.connections.isEmpty else { return [] }
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Who is connected, by age.
    public func connections() -> [NBDConnectionInfo] {
        state.withLock { $0.connections.values.sorted { $0.id < $1.id } }.map {
            NBDConnectionInfo(
                id: $0.id, export: $0.export, peer: $0.transport.peer, requestsInFlight: $0.replies.requestsInFlight)
        }
    }

    /// Ends the connections to an export in order: what is in flight is answered, what comes now gets ESHUTDOWN.
    /// - Returns: how many there were. They may take a moment to go.
    @discardableResult
    public func disconnect(export: String) -> Int {
        let affected = state.withLock { $0.connections.values.filter { $0.export == export } }
        for connection in affected { connection.beginClosing(.shutdown) }
        return affected.count
    }
}
