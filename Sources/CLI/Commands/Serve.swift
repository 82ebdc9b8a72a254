import ArgumentParser
import Control
import Glibc
import Logging
import NBD
import StoreCore

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve volumes and snapshots over NBD.",
        discussion: """
            Serves all volumes, those made later too, or those named by --volume. Each is
            claimed when its first client attaches it for writing; one that another host
            holds is refused as busy, unless --take-over names it: that host can then
            never acknowledge a flush again. Export names are pg-prod and, read-only,
            pg-prod@monday.

            When it is ready it prints one line:
              ready nbd=127.0.0.1:10809 nbd=unix:/run/nbd.sock control=/var/lib/zerofs/control.sock
            and tells systemd (Type=notify). SIGTERM or SIGINT drains, uploads and leaves;
            a second one stops at once, and what was not uploaded is in the journal.

            Without TLS listen on addresses that only trusted machines reach; --tls required
            answers nothing before a client has upgraded, and [[export]] in the
            configuration says who may use what. SIGHUP reads certificates and keys anew.

            EXAMPLES:
              zerofs serve
              zerofs serve --nbd-socket /run/zerofs/nbd.sock
              zerofs serve --listen 10.0.0.5:10809 --tls required --tls-psk clients.psk
              zerofs serve --volume pg-prod --take-over pg-prod    (the other host is dead)
              nbdinfo -- [ zerofs serve --stdio pg-prod ]          (a client that starts its server)
            """)

    @Option(
        help: ArgumentHelp(
            """
            A TCP address for NBD; port 0 takes a free one. May be repeated (default: 127.0.0.1:10809, none with \
            --nbd-socket).
            """,
            valueName: "host:port"))
    var listen: [String] = []
    @Option(help: ArgumentHelp("A unix socket for NBD.", valueName: "path"))
    var nbdSocket: String?
    @Option(
        help: ArgumentHelp(
            """
            Where to take commands: a path for the control socket (default: control.sock in the data directory), or \
            HOST:PORT for TCP besides. May be repeated.
            """,
            valueName: "path"))
    var control: [String] = []
    @Option(
        help: ArgumentHelp(
            """
            Serve this volume or snapshot alone, to one client on standard input and output, and leave with it. \
            Nothing else is written there, not even the ready line. Also on a socket that a service manager hands over.
            """,
            valueName: "name"))
    var stdio: String?
    @Option(help: ArgumentHelp("Serve only this volume and its snapshots. May be repeated.", valueName: "name"))
    var volume: [String] = []
    @Option(help: ArgumentHelp("Claim this volume although another host holds it. May be repeated.", valueName: "name"))
    var takeOver: [String] = []
    @Option(
        help: ArgumentHelp(
            "Serve this volume to all clients although writes were lost: none lived on. May be repeated.",
            valueName: "name"))
    var accept: [String] = []
    @OptionGroup var tls: TLSOptions
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let configuration = try common.load()
        // Who starts a server for one client wants to hear of trouble alone.
        let level = stdio == nil ? configuration.logLevel : max(configuration.logLevel, .warning)
        let log = Logs.start(level: common.logLevel?.level ?? level)
        var plan = try ServePlan(self, configuration, activated: ServiceManager.takeSockets())
        if plan.export != nil, plan.nbdAddresses.isEmpty {
            plan.streams = try StandardStreams.take()
            // Whoever started this server is the client; an inherited TCP connection is still not local.
            plan.security.exemptsSocket = true
        }
        ProcessLimits.raiseOpenFiles()
        let signals = StopSignals()
        let server = try await RunningServer.start(plan, configuration, log: log)
        if plan.export == nil {
            print(server.readyLine)
            Terminal.flushOutput()
        }
        ServiceManager.notify("READY=1\nSTATUS=\(server.readyLine)")
        try await server.serve(until: signals)
    }
}

/// Where a server listens and what it serves: the command line before the configuration before the defaults.
struct ServePlan {
    var nbdAddresses: [NBDAddress]
    var controlAddresses: [ControlAddress]
    var volumes: Set<String>?
    var takeOver: Set<String>
    var accept: Set<String>
    var security: SecurityPlan
    /// With --stdio: all that is served.
    var export: VolumeReference?
    /// The client of --stdio, unless a service manager gave sockets to listen on.
    var streams: StandardStreams?

    /// - Parameter activated: listening sockets that a service manager handed over; they stand for addresses.
    init(
        _ options: Serve, _ configuration: ZerofsConfiguration, activated: [NBDAddress] = []
    ) throws(StorageError) {
        security = try SecurityPlan(options.tls, configuration)
        controlAddresses = try Self.controlAddresses(options, configuration)
        for name in options.volume + options.takeOver + options.accept where !VolumeName.isValid(name) {
            throw StorageError(.invalid, "'\(name)' is not a volume's name")
        }
        volumes = options.volume.isEmpty ? nil : Set(options.volume)
        if let name = options.stdio {
            guard options.listen.isEmpty, options.nbdSocket == nil, options.volume.isEmpty else {
                throw StorageError(.invalid, "--stdio serves one client: leave out --listen, --nbd-socket and --volume")
            }
            let export = try VolumeReference(parsing: name)
            self.export = export
            nbdAddresses = activated
            volumes = [export.volume]
        } else if !activated.isEmpty, options.listen.isEmpty, options.nbdSocket == nil {
            nbdAddresses = activated
        } else {
            nbdAddresses = try Self.nbdAddresses(options, configuration.nbd) + activated
        }
        takeOver = Set(options.takeOver)
        accept = Set(options.accept)
        if let volumes, let stranger = takeOver.union(accept).subtracting(volumes).sorted().first {
            throw StorageError(.invalid, "'\(stranger)' names a volume that --volume does not serve")
        }
    }

    static let lockName = "serve"
    /// As the lock of the data directory names the holder.
    var lockName: String { export == nil ? Self.lockName : "\(Self.lockName) --stdio" }

    private static func nbdAddresses(
        _ options: Serve, _ settings: ZerofsConfiguration.NBD
    ) throws(StorageError) -> [NBDAddress] {
        let isTold = !options.listen.isEmpty || options.nbdSocket != nil
        var listen = isTold ? options.listen : settings.listen ?? []
        let socket =
            isTold
            ? try options.nbdSocket.map { path throws(StorageError) in try FilePath.absolute(path) } : settings.socket
        if listen.isEmpty, socket == nil, isTold || settings.listen == nil {
            listen = [ZerofsConfiguration.NBD.listenDefault]
        }
        var addresses: [NBDAddress] = []
        for text in listen {
            let address = try HostAndPort(parsing: text)
            addresses.append(.tcp(host: address.host, port: address.port))
        }
        if let socket { addresses.append(.unix(path: socket, mode: 0o600)) }
        guard !addresses.isEmpty else {
            throw StorageError(.invalid, "nowhere to listen: set nbd.listen or nbd.socket")
        }
        return addresses
    }

    private static func controlAddresses(
        _ options: Serve, _ configuration: ZerofsConfiguration
    ) throws(StorageError) -> [ControlAddress] {
        var (paths, others) = ([ControlAddress](), [ControlAddress]())
        let texts = options.control + (configuration.control.listen.map { [$0] } ?? [])
        for text in texts {
            switch try ControlAddress(parsing: text) {
            case .unix(let path): paths.append(.unix(path: try FilePath.absolute(path)))
            case .tcp(let host, let port): others.append(.tcp(host: host, port: port))
            }
        }
        guard paths.count <= 1 else { throw StorageError(.invalid, "there is one control socket: give one path") }
        return (paths.isEmpty ? [.unix(path: configuration.controlSocket)] : paths) + others
    }
}
