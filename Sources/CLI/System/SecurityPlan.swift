import ArgumentParser
import Logging
import NBD
import StoreCore
import TLS

/// Whether NBD clients are offered TLS, or served nothing without it.
enum TLSMode: String, CaseIterable, Sendable, ExpressibleByArgument {
    case off
    /// The client chooses.
    case on
    case required
}

/// What `serve` takes; files, never secrets, because everyone on the machine sees a command's arguments.
struct TLSOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "TLS for NBD clients: off, on (the client chooses), or required. Over tls.mode.", valueName: "mode"))
    var tls: TLSMode?
    @Option(help: ArgumentHelp("The server's certificate and those above it (PEM).", valueName: "file"))
    var tlsCertificate: String?
    @Option(help: ArgumentHelp("The certificate's key (PEM, mode 0600).", valueName: "file"))
    var tlsKey: String?
    @Option(help: ArgumentHelp("Authorities whose clients are let in (PEM).", valueName: "file"))
    var tlsCA: String?
    @Option(help: ArgumentHelp("Pre-shared keys, USER:HEXKEY a line (mode 0600).", valueName: "file"))
    var tlsPSK: String?
}

/// How a server's NBD clients are secured: the command line before the configuration.
struct SecurityPlan: Sendable {
    private(set) var mode: TLSMode
    private(set) var files: TLSFiles
    private(set) var rules: ExportRules
    /// Clients of unix sockets need no TLS although the mode is `required`.
    var exemptsSocket: Bool

    init(_ options: TLSOptions, _ configuration: ZerofsConfiguration) throws(StorageError) {
        let settings = configuration.tls
        mode = options.tls ?? settings.mode
        exemptsSocket = settings.exemptsSocket
        rules = ExportRules(configuration.exports)
        files = TLSFiles(
            certificate: try Self.path(options.tlsCertificate, settings.certificateFile),
            key: try Self.path(options.tlsKey, settings.keyFile),
            authorities: try Self.path(options.tlsCA, settings.caFile), revocations: settings.crlFile,
            preSharedKeys: try Self.path(options.tlsPSK, settings.pskFile))
        guard mode != .off else {
            let given = [options.tlsCertificate, options.tlsKey, options.tlsCA, options.tlsPSK]
            guard given.allSatisfy({ $0 == nil }) else {
                throw StorageError(.invalid, "TLS is off: say --tls on or --tls required")
            }
            return
        }
        try files.requireUsable()
    }

    private static func path(_ option: String?, _ setting: String?) throws(StorageError) -> String? {
        guard let option else { return setting }
        return try FilePath.absolute(option)
    }

    /// nil with TLS off. Throws where the files cannot be used.
    func makeTLS(log: Logger) throws(StorageError) -> TLSSecurity? {
        mode == .off ? nil : try TLSSecurity(files, log: log)
    }

    /// Whether nothing is served to this machine's own clients without TLS.
    var demandsLocally: Bool { mode == .required && !exemptsSocket }

    func security(_ tls: TLSSecurity?) -> NBDSecurity? {
        tls.map {
            NBDSecurity(
                $0, remote: mode == .required ? .required : .offered, local: demandsLocally ? .required : .offered)
        }
    }

    func accessControl(log: Logger) -> AccessControl {
        let refusals = RefusalLog(.accessDenied, log)
        return AccessControl(rules) { client, peer, export in
            refusals.note("client \(client) at \(peer) asked for '\(export)', which no rule lets it use")
        }
    }

    /// What an operator should know before the first client comes.
    func warnings(listeningOn addresses: [NBDAddress]) -> [String] {
        let hosts = addresses.compactMap { address -> HostAndNumber? in
            guard case .tcp(let host, let port) = address else { return nil }
            return HostAndNumber(host: host, port: port)
        }
        var lines: [String] = []
        if mode != .required {
            lines += hosts.filter { !$0.isLoopback }.map {
                """
                NBD on \($0) is open to the network without TLS: whoever reaches it can read and write what is served, \
                and whoever is on the way can read it; set tls.mode = "required"
                """
            }
        }
        if mode != .off, !files.identifiesClients, hosts.contains(where: { !$0.isLoopback }) {
            lines.append("TLS hides the data but lets every client in: set tls.ca_file or tls.psk_file to know them")
        }
        if rules.namesClients, mode == .off, !hosts.isEmpty {
            lines.append("[[export]] names clients, but without TLS nobody knows who a TCP client is: it gets none")
        }
        return lines
    }

    private struct HostAndNumber: CustomStringConvertible {
        var host: String
        var port: UInt16
        var isLoopback: Bool { host == "localhost" || host.hasPrefix("127.") || host == "::1" }
        var description: String { "\(host.contains(":") ? "[\(host)]" : host):\(port)" }
    }
}
