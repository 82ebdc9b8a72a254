import Cleaner
import Codec
import Logging
import ObjectStorage
import StoreCore
import Volumes

/// A host that runs zerofs, and what is open on it.
final class Server: @unchecked Sendable {
    let host: SimulatedHost
    var process: SimulatedProcess?
    var engine: Engine?
    /// Serves the engine's volumes, where clients come over NBD.
    var nbd: NBDService?
    /// By volume: the device and the session that clients use.
    var open: [String: OpenVolume] = [:]
    /// It was told to take volumes over.
    var takesOver = false
    var isStarting = false

    struct OpenVolume {
        var device: any BlockDevice
        var session: Int
    }

    init(_ host: SimulatedHost) { self.host = host }

    var isUp: Bool { engine != nil && process?.isAlive ?? false }

    /// The process is gone, and with it all that was open.
    func forget() {
        engine = nil
        nbd = nil
        open = [:]
    }
}

extension World {
    static let unlock = Unlock.keyFile([UInt8](repeating: 7, count: 32))

    func engineSettings(takeOver: Bool) -> EngineSettings {
        var settings = EngineSettings(dataDirectory: "/data")
        settings.volume = plan.volume
        settings.memoryCacheBytes = 256 << 10
        settings.mapCacheBytes = 64 << 10
        settings.diskCacheBytes = plan.diskCacheBytes
        settings.gc.policy.packedBytesTarget = 64 << 10
        settings.gc.policy.smallBytes = 24 << 10
        settings.gc.policy.smallCountMin = 4
        settings.takeOver = takeOver ? Set((0..<64).map { "v\($0)" }) : []
        return settings
    }
    func store(for process: SimulatedProcess, on host: SimulatedHost) -> any ObjectStore {
        RetryingStore(
            SimulatedStore(bucket, process: process), time: host.machine(of: process).time, seed: random.next())
    }

    /// Starts a server; false where it did not come up.
    func start(_ server: Server, takeOver: Bool) async -> Bool {
        guard !server.isUp, !server.isStarting else { return server.isUp }
        server.isStarting = true
        defer { server.isStarting = false }
        let process = server.host.start()
        server.process = process
        server.forget()
        server.takesOver = takeOver
        let store = store(for: process, on: server.host)
        let machine = server.host.machine(of: process)
        let settings = engineSettings(takeOver: takeOver)
        let log = SimulationLog.logger(scheduler)
        let engine = await attempt("start", on: process) {
            try await Engine.open(store: store, unlock: Self.unlock, settings: settings, machine: machine, log: log)
        }
        guard let engine, process.isAlive else {
            process.kill()
            return false
        }
        server.engine = engine
        count("server starts")
        return true
    }
}

/// The engine's log, in the trace.
struct SimulationLog: LogHandler {
    let scheduler: Scheduler
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }
    func log(event: LogEvent) { scheduler.note("\(event.level): \(event.message)") }

    static func logger(_ scheduler: Scheduler) -> Logger {
        var logger = Logger(label: "sim") { _ in SimulationLog(scheduler: scheduler) }
        logger.logLevel = scheduler.trace.isOn ? .debug : .critical
        return logger
    }
}
