import Control
import Glibc
import Logging
import StoreCore
import Volumes

/// Runs one command where it belongs: in the server of this data directory where one runs, else on an engine of its
/// own.
struct Session {
    let configuration: ZerofsConfiguration
    let log: Logger

    /// Another command, or a server that is starting or leaving, has this long to make room.
    private static let patience = Duration.seconds(15)
    /// A command's user waits: a store that does not answer is reported sooner than by a server.
    private static let retryDeadlineMax = Duration.seconds(15)

    init(_ options: CommonOptions) throws(StorageError) {
        configuration = try options.load()
        // One command says what matters; a server's level is for its log.
        log = Logs.start(level: options.logLevel?.level ?? max(configuration.logLevel, .warning))
    }

    /// - Parameter takeOver: a volume that is claimed although another host holds it, where no server runs here; a
    ///   server knows its own.
    func run<C: Command>(_ command: C, takeOver: VolumeReference? = nil) async throws -> C.Output {
        let display = ProgressDisplay(C.name)
        defer { display.finish() }
        let progress: ProgressHandler = { display.show($0) }
        switch try await place(for: C.self) {
        case .server(let client): return try await client.run(command, progress: progress)
        case .here(let lock):
            defer { withExtendedLifetime(lock) {} }
            return try await runHere(command, takeOver, progress)
        }
    }

    /// The server of this data directory; throws `unavailable` where none runs.
    func server() async throws -> (client: ControlClient, health: HealthReport) {
        if let found = try await findServer() { return found }
        throw StorageError(
            .unavailable, "no server runs on \(configuration.data.directory): start one with `zerofs serve`")
    }

    // MARK: Where

    private enum Place {
        case server(ControlClient)
        case here(DataDirectoryLock)
    }

    private func place<C: Command>(for _: C.Type) async throws -> Place {
        let holder = C.access == .reads ? nil : LockHolder(pid: getpid(), command: C.name)
        let end = ContinuousClock.now + Self.patience
        while true {
            if let found = try await findServer(), found.health.status == .ok { return .server(found.client) }
            if let lock = try DataDirectoryLock.acquire(in: configuration.data.directory, as: holder) {
                return .here(lock)
            }
            guard ContinuousClock.now < end else { throw Self.busy(configuration.data.directory) }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    private func findServer() async throws -> (client: ControlClient, health: HealthReport)? {
        let location = try StoreLocation(parsing: configuration.store.url).description
        let configured = ControlClient(path: configuration.controlSocket)
        if let health = try await configured.health() {
            try Self.check(health, at: configured.path, serves: location)
            return (configured, health)
        }
        // A server that was told another socket left word; a dead one's word counts for nothing.
        guard let holder = DataDirectoryLock.holder(in: configuration.data.directory), let path = holder.control,
            path != configured.path
        else { return nil }
        let told = ControlClient(path: path)
        guard let health = try await told.health(), health.pid == holder.pid else { return nil }
        try Self.check(health, at: path, serves: location)
        return (told, health)
    }
    private static func check(_ health: HealthReport, at path: String, serves location: String) throws(StorageError) {
        guard health.store == location else {
            throw StorageError(
                .busy,
                "the server at \(path) serves another store, \(health.store): each needs a data directory of its own")
        }
    }

    static func busy(_ directory: String) -> StorageError {
        let path = "the data directory \(directory) is in use"
        guard let holder = DataDirectoryLock.holder(in: directory) else {
            return StorageError(.busy, "\(path) by another zerofs command")
        }
        return StorageError(.busy, "\(path) by `zerofs \(holder.command)`, process \(holder.pid)")
    }

    // MARK: Here

    private func runHere<C: Command>(
        _ command: C, _ takeOver: VolumeReference?, _ progress: @escaping ProgressHandler
    ) async throws -> C.Output {
        let engine = try await openEngine(takeOver)
        do {
            let output = try await command.run(on: engine, progress: progress)
            try await engine.close()
            return output
        } catch {
            // The command's error is what matters; one of closing says that something is left in the journal.
            do { try await engine.close() } catch let second { log.warning("\(second)") }
            throw error
        }
    }

    private func openEngine(_ takeOver: VolumeReference?) async throws -> Engine {
        let unlock = try Unlocking.read(configuration.keys, log: log)
        let opened = try await StoreFactory.open(
            configuration.store, deadline: min(configuration.store.retryDeadline, Self.retryDeadlineMax), log: log)
        var settings = configuration.engineSettings
        // One command reads little twice, and the cache's files may be a reader's in another process.
        settings.diskCacheBytes = 0
        settings.takeOver = takeOver.map { [$0.volume] } ?? []
        return try await Engine.open(
            store: opened.store, unlock: unlock, unlockAgain: Unlocking.again(configuration.keys, log),
            settings: settings,
            log: log)
    }
}
