import Control
import Glibc
import Logging
import NBD
import ObjectStorage
import StoreCore
import TLS
import Volumes

/// All parts of a server that runs, and the order in which they start and stop.
///
/// Start: lock of the data directory, store, engine, NBD, control. Stop: NBD first, so that nothing new comes; then the
/// engine, which uploads what is left; the control socket last, so that commands see a server that leaves, not none.
struct RunningServer {
    /// The one client of a server that listens nowhere.
    let streams: StandardStreams?
    let readyLine: String
    private let lock: DataDirectoryLock
    private let engine: Engine
    private let nbd: NBDServer
    private let control: ControlServer
    private let log: Logger
    /// Kept alive: reads certificates and keys anew on SIGHUP.
    private let reload: ReloadSignal

    /// How long requests in flight may take when the server leaves; then they are cut off unanswered.
    private static let drainDuration = Duration.seconds(30)

    static func start(_ plan: ServePlan, _ configuration: ZerofsConfiguration, log: Logger) async throws
        -> RunningServer
    {
        let tls = try plan.security.makeTLS(log: log)
        let lock = try await lock(configuration, plan)
        let unlock = try Unlocking.read(configuration.keys, log: log)
        let opened = try await StoreFactory.open(
            configuration.store, deadline: configuration.store.retryDeadline, log: log)
        try await StoreProbe.check(opened.store)
        var settings = configuration.engineSettings
        settings.servedVolumes = plan.volumes
        settings.takeOver = plan.takeOver
        settings.acceptsLoss = plan.accept
        let engine = try await Engine.open(
            store: opened.store, unlock: unlock, unlockAgain: Unlocking.again(configuration.keys, log),
            settings: settings, log: log)
        do {
            return try await start(plan, configuration, lock, opened, engine, tls, log)
        } catch {
            await engine.abandon()
            throw error
        }
    }

    private static func start(
        _ plan: ServePlan, _ configuration: ZerofsConfiguration, _ lock: DataDirectoryLock, _ opened: OpenedStore,
        _ engine: Engine, _ tls: TLSSecurity?, _ log: Logger
    ) async throws -> RunningServer {
        try await requireVolumes(plan, engine)
        let statistics = NBDStatistics()
        let directory: any DeviceDirectory = plan.export.map { OneExport($0, of: engine) } ?? engine
        let nbd = NBDServer(
            directory, listeningOn: plan.nbdAddresses, observer: statistics, security: plan.security.security(tls),
            access: plan.security.accessControl(log: log))
        for line in plan.security.warnings(listeningOn: plan.nbdAddresses) { log.warning("\(line)") }
        let figures = FigureSource(opened: opened, engine: engine, nbd: nbd, statistics: statistics)
        let bound = try nbd.start()
        let health = HealthReport(
            status: .ok, version: Zerofs.version, pid: getpid(), store: opened.location.description,
            nbd: bound.map(address), tls: plan.security.mode.rawValue,
            tlsOnSocket: plan.security.demandsLocally)
        let control = ControlServer(engine, health: health, log: log) { await figures.snapshot() }
        do {
            let paths = try await listen(control, plan, lock, log)
            let words = health.nbd.map { "nbd=\($0)" } + paths.map { "control=\($0)" }
            return RunningServer(
                streams: plan.streams, readyLine: "ready " + words.joined(separator: " "), lock: lock, engine: engine,
                nbd: nbd,
                control: control, log: log, reload: ReloadSignal(tls, log))
        } catch {
            await control.stop()
            await nbd.stop(draining: .zero)
            throw error
        }
    }

    private static func lock(_ configuration: ZerofsConfiguration, _ plan: ServePlan) async throws -> DataDirectoryLock
    {
        let directory = configuration.data.directory
        let end = ContinuousClock.now + .seconds(10)
        while true {
            let holder = LockHolder(pid: getpid(), command: plan.lockName, control: controlPath(plan))
            if let lock = try DataDirectoryLock.acquire(in: directory, as: holder) { return lock }
            let other = DataDirectoryLock.holder(in: directory)
            // A command is soon done, and so is a server for one client; any other is not.
            guard other?.command != ServePlan.lockName, ContinuousClock.now < end else { throw Session.busy(directory) }
            try await Task.sleep(for: .milliseconds(50))
        }
    }
    private static func controlPath(_ plan: ServePlan) -> String? {
        for case .unix(let path) in plan.controlAddresses { return path }
        return nil
    }

    private static func requireVolumes(_ plan: ServePlan, _ engine: Engine) async throws {
        guard let volumes = plan.volumes else { return }
        let known = Set(try await engine.exportNames())
        if let missing = volumes.subtracting(known).sorted().first {
            throw StorageError(.notFound, "there is no volume '\(missing)'")
        }
        if let export = plan.export, !known.contains(export.description) {
            throw StorageError(.notFound, "there is no snapshot '\(export)'")
        }
    }

    private static func listen(
        _ control: ControlServer, _ plan: ServePlan, _ lock: DataDirectoryLock, _ log: Logger
    ) async throws -> [ControlAddress] {
        var bound: [ControlAddress] = []
        for address in plan.controlAddresses {
            if case .tcp(let host, _) = address, host != "localhost", !host.hasPrefix("127."), host != "::1" {
                log.warning("the control address \(address) has no passwords: whoever reaches it commands this server")
            }
            bound.append(try await control.start(on: address))
        }
        return bound
    }

    /// `127.0.0.1:10809`, or `unix:/path`.
    private static func address(_ address: NBDAddress) -> String {
        switch address {
        case .inherited(let descriptor): "fd:\(descriptor)"
        case .tcp(let host, let port): "\(host.contains(":") ? "[\(host)]" : host):\(port)"
        case .unix(let path, _): "unix:\(path)"
        }
    }

    // MARK: Stopping

    /// Returns when the first request to stop was carried out, which the end of an only client is too. A second one
    /// ends the process at once.
    func serve(until signals: StopSignals) async throws {
        let client = serveStreams(signals)
        var requests = signals.requests.makeAsyncIterator()
        _ = await requests.next()
        log.notice("stopping: answering what is in flight and uploading the rest; once more stops at once")
        ServiceManager.notify("STOPPING=1")
        let impatience = Task { [engine, log] in
            for await _ in signals.requests {
                log.warning("stopping at once: what was not uploaded is in the journal")
                await engine.abandon()
                exit(ExitCodes.failed)
            }
        }
        defer { impatience.cancel() }
        control.beginDraining()
        await nbd.stop(draining: Self.drainDuration)
        do {
            try await engine.close()
            try await client?.value
        } catch {
            await control.stop()
            throw error
        }
        await control.stop()
        log.notice("stopped")
        withExtendedLifetime(lock) {}
    }
}

extension RunningServer {
    /// Serves the client on standard input and output, where there is one; its end asks the server to stop.
    private func serveStreams(_ signals: StopSignals) -> Task<Void, any Error>? {
        streams.map { streams in
            Task { [nbd] in
                defer { signals.request() }
                try await nbd.serve(input: streams.input, output: streams.output)
            }
        }
    }
}

/// Collects a server's figures from its parts.
private struct FigureSource: Sendable {
    let opened: OpenedStore
    let engine: Engine
    let nbd: NBDServer
    let statistics: NBDStatistics
    let started = ContinuousClock.now

    func snapshot() async -> ServerSnapshot {
        let uptime = (ContinuousClock.now - started).components
        return ServerSnapshot(
            version: Zerofs.version, pid: getpid(),
            uptimeSeconds: Double(uptime.seconds) + Double(uptime.attoseconds) / 1e18, memory: .current(),
            storeLocation: opened.location.description, requests: opened.meter.counts(),
            requestLatencies: Dictionary(
                uniqueKeysWithValues: RequestKind.allCases.map { ($0, opened.meter.latency(of: $0)) }),
            exports: statistics.snapshot(), connections: nbd.connections(), engine: await engine.statistics())
    }
}
