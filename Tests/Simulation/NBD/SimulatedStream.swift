import CSimulationThreads
import NBD
import StoreCore

/// The network between one NBD client and the server: bytes arrive in order, in pieces of any size, after some time,
/// and it may be cut at any byte. The server's end is a `Transport`; the client's end lies in the simulation.
final class SimulatedStream: Transport, @unchecked Sendable {
    let peer = "unix"

    /// One direction.
    private struct Way {
        /// Sent, and not yet arrived.
        var underWay: [UInt8] = []
        var isMoving = false
    }
    private let scheduler: Scheduler
    private let process: SimulatedProcess
    private let plan: NBDPlan
    private var toServer = Way()
    private var toClient = Way()
    /// Arrived at the server, and not yet received.
    private var arrived: [UInt8] = []
    /// Bytes of both directions that still arrive; nil for any number.
    private var bytesUntilCut: Int?
    private var isStopped = false
    private var isClosed = false
    private(set) var isCut = false
    private var isLate = false

    /// The client's end: bytes that arrived, and the stream's end.
    var onBytes: ((ArraySlice<UInt8>) -> Void)?
    var onEnd: (() -> Void)?

    /// - Parameter process: the server's; with it the stream ends.
    init(_ scheduler: Scheduler, _ process: SimulatedProcess, _ plan: NBDPlan) {
        self.scheduler = scheduler
        self.process = process
        self.plan = plan
        if scheduler.chance(plan.cuts) { bytesUntilCut = Int(scheduler.delay(0, 400_000)) }
    }

    // MARK: The client's end

    func sendToServer(_ bytes: [UInt8]) {
        guard !isCut else { return }
        toServer.underWay += bytes
        move(\.toServer)
    }
    /// Nothing more arrives anywhere, and both ends see it.
    func cut() {
        guard !isCut else { return }
        isCut = true
        scheduler.note("a connection is cut")
        wakeServer()
        onEnd?()
    }

    // MARK: The way

    private func move(_ way: ReferenceWritableKeyPath<SimulatedStream, Way>) {
        guard !self[keyPath: way].isMoving, !self[keyPath: way].underWay.isEmpty else { return }
        self[keyPath: way].isMoving = true
        scheduler.after(scheduler.delay(1000, plan.latencyMax), as: process) { self.arrive(way) }
    }

    private func arrive(_ way: ReferenceWritableKeyPath<SimulatedStream, Way>) {
        self[keyPath: way].isMoving = false
        guard !isCut else { return }
        var count = self[keyPath: way].underWay.count
        if scheduler.chance(0.25) { count = 1 + Int(scheduler.random.next() % UInt64(count)) }
        if let rest = bytesUntilCut {
            count = min(count, rest)
            bytesUntilCut = rest - count
        }
        let bytes = self[keyPath: way].underWay.prefix(count)
        self[keyPath: way].underWay.removeFirst(count)
        if way == \.toServer {
            arrived += bytes
        } else {
            onBytes?(bytes)
        }
        wakeServer()
        if bytesUntilCut == 0 { return cut() }
        move(way)
    }

    // MARK: The server's end

    private var key: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }
    private func wakeServer() { simulation_wake(key) }

    func receive(into buffer: UnsafeMutableRawBufferPointer, within nanoseconds: UInt64?) throws -> Int? {
        isLate = false
        let timer = nanoseconds.map { limit in
            scheduler.after(limit, as: process) {
                self.isLate = true
                self.wakeServer()
            }
        }
        defer { if let timer { scheduler.cancel(timer) } }
        while true {
            if isClosed { throw Self.ended }
            if !arrived.isEmpty { break }
            if isCut || isStopped { return 0 }
            if isLate { return nil }
            simulation_wait(key)
        }
        let count = min(buffer.count, arrived.count)
        buffer.copyBytes(from: arrived.prefix(count))
        arrived.removeFirst(count)
        return count
    }

    func send(_ bytes: UnsafeRawBufferPointer) throws {
        var rest = bytes
        while !rest.isEmpty {
            let count = try trySend([rest])
            rest = UnsafeRawBufferPointer(rebasing: rest[count...])
            if count == 0 { simulation_wait(key) }
        }
    }

    func trySend(_ parts: [UnsafeRawBufferPointer]) throws -> Int {
        if isCut || isClosed { throw Self.ended }
        var room = max(plan.windowBytes - toClient.underWay.count, 0)
        var sent = 0
        for part in parts where room > 0 {
            let taken = part.prefix(room)
            toClient.underWay += taken
            room -= taken.count
            sent += taken.count
        }
        move(\.toClient)
        return sent
    }

    func stopReceiving() {
        isStopped = true
        wakeServer()
    }
    func abort() {
        isClosed = true
        isStopped = true
        wakeServer()
        endForClient()
    }
    func close() {
        isClosed = true
        endForClient()
    }

    /// What was sent before still arrives.
    private func endForClient() {
        scheduler.after(plan.latencyMax + 1_000_000, as: process) { self.cutWhenEmpty() }
    }
    private func cutWhenEmpty() {
        guard !toClient.underWay.isEmpty, !isCut else { return cut() }
        endForClient()
    }

    private static var ended: StorageError { StorageError(.unavailable, "the connection was ended") }
}
