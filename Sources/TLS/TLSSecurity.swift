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
        refusals = RefusalLog(log, time)
        context = Mutex(try TLSContext(files))
    }

    /// Reads the files again, for connections to come. Throws as `init`, and leaves everything as it was then.
    public func reload() throws(StorageError) {
        let new = try TLSContext(files)
        context.withLock { $0 = new }
    }

    /// The users of the file of pre-shared keys, sorted.
    public var users: [String] { context.withLock { $0 }.preSharedKeys?.users ?? [] }

    public func secure(_ transport: any Transport, within nanoseconds: UInt64) throws -> SecuredTransport {
        do {
            let context = context.withLock { $0 }
            let session = try TLSSession(context)
            let secured = TLSTransport(over: transport, session, time)
            try secured.shakeHands(within: nanoseconds)
            let client = NBDClient(try proof(session, context), isSecured: true)
            log.debug("TLS with \(transport.peer): \(client), \(session.terms)")
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

/// Lines about clients that were turned away: at most so many in a while, because anyone who reaches the address can
/// cause them. What was left out is counted, and told with the next.
final class RefusalLog: Sendable {
    private static let linesMax = 20
    private static let windowNanoseconds: UInt64 = 10_000_000_000

    private let log: Logger
    private let time: any TimeSource
    private struct State {
        var windowBegan: UInt64 = 0
        var lines = 0
        var omitted = 0
    }
    private let state = Mutex(State())

    init(_ log: Logger, _ time: any TimeSource) {
        self.log = log
        self.time = time
    }

    func note(_ text: String) {
        let now = time.monotonicNanoseconds()
        let omitted: Int? = state.withLock { state in
            if now &- state.windowBegan > Self.windowNanoseconds {
                state.windowBegan = now
                state.lines = 0
            }
            guard state.lines < Self.linesMax else {
                state.omitted += 1
                return nil
            }
            state.lines += 1
            defer { state.omitted = 0 }
            return state.omitted
        }
        guard let omitted else { return }
        log.warning("\(text)\(omitted > 0 ? " (and \(omitted) more refusals before)" : "")")
    }
}
