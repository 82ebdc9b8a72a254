import StoreCore

/// A volume as a client has it over NBD: some connections, of which any carries a request. What one does not answer
/// because it was lost is asked again on another, when the server is done with the first.
final class NBDDevice: BlockDevice, @unchecked Sendable {
    let name: String
    let summary = "over NBD"
    let isReadOnly = false
    /// NBD tells nobody of a new size: who changes it, says so here.
    var size: UInt64 = 0 {
        didSet { resizesDone = resizes }
    }
    /// How often somebody began to change it.
    var resizes = 0
    private var resizesDone = 0

    private let service: NBDService
    private let scheduler: Scheduler
    private let process: SimulatedProcess
    private var connections: [NBDConnection] = []
    private var isClosed = false
    /// Asked behind each new connection: false where the client must give up, because another has owned the volume
    /// since. The server would refuse it, but for `after_crash = serve`.
    var mayGoOn: (() async -> Bool)?
    private(set) var reconnects = 0

    private static let triesMax = 5

    /// Connects to an export as often as the plan says.
    static func connect(
        to service: NBDService, _ name: String, _ scheduler: Scheduler, _ process: SimulatedProcess
    ) async throws -> NBDDevice {
        let device = NBDDevice(service, name, scheduler, process)
        let first = try await device.connection()
        device.size = first.size
        for _ in 1..<service.plan.connectionCount {
            // One is enough to begin with.
            do { device.connections.append(try await device.newConnection()) } catch {
                scheduler.note("no further connection: \(error)")
            }
        }
        return device
    }

    private init(_ service: NBDService, _ name: String, _ scheduler: Scheduler, _ process: SimulatedProcess) {
        self.service = service
        self.name = name
        self.scheduler = scheduler
        self.process = process
    }

    /// Returns when the server is done with every connection.
    func close() async {
        isClosed = true
        let all = connections
        connections = []
        for connection in all { await connection.close() }
    }

    // MARK: Requests

    func readNow(at _: UInt64, into _: UnsafeMutableRawBufferPointer) throws -> Bool { false }
    func writeNow(at _: UInt64, from _: UnsafeRawBufferPointer) throws -> Bool { false }

    func read(at offset: UInt64, into buffer: IOBuffer) async throws {
        let count = UInt64(buffer.count)
        if scheduler.chance(0.1) { _ = try await status(at: offset, count: count, extentsMax: 1) }
        if scheduler.chance(0.1) { try await prefetch(at: offset, count: count) }
        let data = try await perform(NBDRequest(command: .read, offset: offset, length: count))
        buffer.withMutableBytes { $0.copyBytes(from: data) }
    }
    func write(at offset: UInt64, from buffer: IOBuffer, fua: Bool) async throws {
        _ = try await perform(
            NBDRequest(
                command: .write, offset: offset, length: UInt64(buffer.count), payload: buffer.array, fua: fua))
    }
    func flush() async throws { _ = try await perform(NBDRequest(command: .flush)) }
    func trim(at offset: UInt64, count: UInt64, fua: Bool) async throws {
        _ = try await perform(NBDRequest(command: .trim, offset: offset, length: count, fua: fua))
    }
    func writeZeroes(at offset: UInt64, count: UInt64, fua: Bool) async throws {
        _ = try await perform(NBDRequest(command: .writeZeroes, offset: offset, length: count, fua: fua))
    }
    func prefetch(at offset: UInt64, count: UInt64) async throws {
        _ = try await perform(NBDRequest(command: .cache, offset: offset, length: count))
    }
    /// The connection checks the extents; who wants to know them is somebody else.
    func status(at offset: UInt64, count: UInt64, extentsMax _: Int) async throws -> [DeviceExtent] {
        let known = connections.filter { $0.isUp && $0.hasAllocationContext }
        guard !known.isEmpty else { return [] }
        let request = NBDRequest(command: .blockStatus, offset: offset, length: count)
        let resizesBefore = resizes
        do { _ = try await any(of: known).perform(request) } catch is NBDConnectionLost {
            // The read that follows goes on with another one.
        } catch let refusal as NBDRefusal { throw error(refusal, request, since: resizesBefore) }
        return []
    }

    private func perform(_ request: NBDRequest) async throws -> [UInt8] {
        let resizesBefore = resizes
        for _ in 0..<Self.triesMax {
            let connection = try await connection()
            do { return try await connection.perform(request) } catch is NBDConnectionLost {
                scheduler.note("\(request.command) at \(request.offset) again")
            } catch let refusal as NBDRefusal {
                throw error(refusal, request, since: resizesBefore)
            }
        }
        throw StorageError(.unavailable, "\(name): every connection is lost")
    }

    private func error(_ refusal: NBDRefusal, _ request: NBDRequest, since resizesBefore: Int) -> StorageError {
        let isBeyond = request.offset + request.length > size
        // Somebody made the volume smaller before or meanwhile.
        if isBeyond || resizes != resizesBefore || resizesDone != resizesBefore {
            return StorageError(.cancelled, "\(name) has another size")
        }
        let code: ErrorCode =
            switch refusal.number {
            case 1: .denied
            case 28: .full
            case 22, 75: .invalid
            case 108: .cancelled
            default: service.witness.take(of: name) ?? .unavailable
            }
        return StorageError(code, "\(request.command) of \(name): error \(refusal.number) \(refusal.text)")
    }

    // MARK: Connections

    private func any(of connections: [NBDConnection]) -> NBDConnection {
        connections[Int(scheduler.random.next() % UInt64(connections.count))]
    }

    /// One that is up; a new one where there is none, or now and then in place of one that was lost.
    private func connection() async throws -> NBDConnection {
        connections.removeAll { !$0.isUp }
        let isShort = connections.count < service.plan.connectionCount
        guard connections.isEmpty || isShort && scheduler.chance(0.2) else { return any(of: connections) }
        let connection = try await newConnection()
        connections.append(connection)
        reconnects += 1
        return connection
    }

    private func newConnection() async throws -> NBDConnection {
        for _ in 0..<Self.triesMax {
            guard !isClosed else { throw StorageError(.cancelled, "\(name) was given back") }
            let connection = NBDConnection(to: service.server, scheduler, process, service.plan)
            do {
                try await connection.open(name)
                if let mayGoOn, await !mayGoOn() { isClosed = true }
                guard isClosed else { return connection }
                await connection.close()
            } catch is NBDConnectionLost {
                continue
            } catch let refusal as NBDRefusal {
                let code = service.witness.take(of: name) ?? .unavailable
                throw StorageError(code, "\(name) is refused: \(refusal.number) \(refusal.text)")
            }
        }
        throw StorageError(.unavailable, "\(name): no connection comes about")
    }
}
