import StoreCore
import Synchronization

/// What all connections of a server share.
struct ConnectionContext: Sendable {
    var directory: any DeviceDirectory
    /// Nil where the server knows no TLS.
    var security: NBDSecurity?
    var access = AccessControl()
    var limits: NBDLimits
    var budget: MemoryBudget
    var time: any TimeSource
    var observer: (any NBDObserver)?

    /// What this client may see.
    func directory(for client: NBDClient, at peer: String) -> any DeviceDirectory {
        guard !access.rules.isEmpty else { return directory }
        return GuardedDirectory(base: directory, rules: access.rules, client: client) { [access] export in
            access.noteRefusal(client, peer, export)
        }
    }
    /// Gives back what `directory(for:at:)` attached.
    func detach(_ device: any BlockDevice) async {
        await directory.detach((device as? ReadOnlyView)?.base ?? device)
    }
}

/// One client: handshake, transmission, end. A dedicated thread runs it; tasks serve what must wait.
final class Connection: Sendable {
    let id: UInt64
    let context: ConnectionContext
    let transport: any Transport
    let replies: ReplyQueue

    /// 0, or the `NBDErrorCode` that answers requests from now on.
    private let lateCode = Atomic<UInt32>(0)
    /// Guards the tasks in flight and what is shown of the connection.
    private let state = Mutex(State())
    private struct State {
        var export: String?
        var tasks: [UInt64: SlowTask] = [:]
        var tasksStarted: UInt64 = 0
        var isAborted = false
    }
    private struct SlowTask {
        /// Nil for the moment between its registration and its start.
        var task: Task<Void, Never>?
        var isReading: Bool
    }

    init(id: UInt64, _ transport: any Transport, _ context: ConnectionContext) {
        self.id = id
        let transport = context.security == nil ? transport : UpgradableTransport(transport)
        self.transport = transport
        self.context = context
        replies = ReplyQueue(transport, context.limits, context.budget)
    }

    var export: String? { state.withLock { $0.export } }

    /// The error that requests get because the connection is about to end; nil while it serves.
    @inline(__always)
    var lateError: NBDErrorCode? {
        let code = lateCode.load(ordering: .relaxed)
        return code == 0 ? nil : NBDErrorCode(rawValue: code)
    }

    // MARK: Life

    /// Blocks the thread until the connection has ended and its device was given back.
    func run() {
        if let (device, agreement, remaining) = HandshakeDriver(self).run() {
            state.withLock { $0.export = agreement.export }
            serve(device, agreement, remaining)
            DedicatedThread.wait { [context] in await context.detach(device) }
        }
        replies.close()
        transport.close()
    }

    private func serve(_ device: any BlockDevice, _ agreement: Handshake.Agreement, _ remaining: [UInt8]) {
        let recorder = context.observer?.recorder(for: agreement.export)
        var transmission = Transmission(self, device, agreement, recorder, received: remaining)
        switch transmission.run() {
        case .disconnected, .ending:
            break
        case .lost:
            // Nobody waits for these any more; writes and flushes finish all the same.
            cancelTasks { $0.isReading }
        case .violation:
            transport.abort()
        }
        replies.waitUntilIdle()
    }

    /// Ends the connection in order: what is in flight is answered, what comes now gets `code`.
    func beginClosing(_ code: NBDErrorCode) {
        _ = lateCode.compareExchange(expected: 0, desired: code.rawValue, ordering: .relaxed)
        transport.stopReceiving()
    }

    /// Ends the connection at once.
    func abort() {
        beginClosing(.shutdown)
        state.withLock { $0.isAborted = true }
        transport.abort()
        cancelTasks { _ in true }
    }

    // MARK: Tasks

    /// Serves an admitted request in a task and queues its reply.
    func start(
        _ slow: SlowRequest, _ device: any BlockDevice, _ encoder: ReplyEncoder, _ recorder: (any NBDRecorder)?
    ) {
        let number = state.withLock { state in
            state.tasksStarted += 1
            state.tasks[state.tasksStarted] = SlowTask(task: nil, isReading: slow.isReading)
            return state.tasksStarted
        }
        let task = Task {
            await perform(slow, device, encoder, recorder)
            state.withLock { $0.tasks[number] = nil }
        }
        let isAborted = state.withLock { state in
            state.tasks[number]?.task = task
            return state.isAborted
        }
        if isAborted { task.cancel() }
    }

    private func perform(
        _ slow: SlowRequest, _ device: any BlockDevice, _ encoder: ReplyEncoder, _ recorder: (any NBDRecorder)?
    ) async {
        var parts: [ReplyPart]
        var failed = false
        do {
            parts = try await slow.perform(device, encoder)
        } catch {
            failed = true
            let refusal = Refusal(error)
            parts = [
                ReplyPart(
                    encoder.bytes(capacity: ReplyEncoder.errorBytesMax) { encoder.error(slow.request, refusal, at: $0) }
                )
            ]
            if error.storageCode == .fenced { beginClosing(.inputOutput) }
        }
        replies.complete(parts, heldBytes: slow.heldBytes, mayBlock: false)
        guard let recorder, let operation = slow.request.command.flatMap(NBDOperation.init) else { return }
        recorder.completed(
            operation, requests: 1, failures: failed ? 1 : 0, bytes: failed ? 0 : slow.request.length,
            nanoseconds: context.time.monotonicNanoseconds() &- slow.arrivedAt)
    }

    private func cancelTasks(where condition: (SlowTask) -> Bool) {
        let tasks = state.withLock { $0.tasks.values.filter(condition).compactMap(\.task) }
        for task in tasks { task.cancel() }
    }
}
