public import Logging
public import NBD
public import StoreCore
import Synchronization

/// TLS for an NBD server, from files that may be read anew while it serves. Thread-safe.
///
/// Where the files name authorities or pre-shared keys a client that proves neither is turned away, however well it is
/// encrypted.
public final class TLSSecurity: TransportSecurity {
    private let files: TLSFiles
    private let time: any TimeSource
    private let log: Logger
    /// Replaced as a whole: connections that have begun go on with what they began with.
    private let context: Mutex<TLSContext>
    private let refusals: RefusalLog

    /// Throws where the files cannot be used: `invalid`, `notFound`, or `denied` where others may read a secret.
    public init(_ files: TLSFiles, time: any TimeSource = SystemTime(), log: Logger) throws(StorageError) {
        self.files = files
        self.time = time
        self.log = log
        refusals = RefusalLog(.clientRefused, log, time: time)
        context = Mutex(try TLSContext(files))
    }

    /// Reads the files again, for connections to come. Throws as `init`, and leaves everything as it was then.
    public func reload() throws(StorageError) {
        let new = try TLSContext(files)
        context.withLock { $0 = new }
    }

    /// The users of a file of pre-shared keys, sorted. Throws as `init`.
    public static func users(ofFile path: String) throws(StorageError) -> [String] {
        try PreSharedKeys.load(path).users
    }

    public func secure(_ transport: any Transport, within nanoseconds: UInt64) throws -> SecuredTransport {
        do {
            let context = context.withLock { $0 }
            let session = try TLSSession(context)
            let secured = TLSTransport(over: transport, session, time)
            try secured.shakeHands(within: nanoseconds)
            let client = NBDClient(try proof(session, context), isSecured: true)
            log.debug("\(RefusalLog.printable("TLS with \(transport.peer): \(client), \(session.terms)"))")
            return SecuredTransport(secured, client: client)
        } catch {
            noteRefusal(of: transport.peer, "\(error)")
            throw error
        }
    }

    private func proof(_ session: TLSSession, _ context: TLSContext) throws(StorageError) -> NBDClient.Proof {
        if let user = session.preSharedKeyUser { return .preSharedKey(user: user) }
        if let names = session.certificateNames { return .certificate(names: names) }
        guard !context.identifiesClients else { throw StorageError(.denied, "the client did not say who it is") }
        return .none
    }

    public func noteRefusal(of peer: String, _ reason: String) { refusals.note("TLS with \(peer): \(reason)") }
}
