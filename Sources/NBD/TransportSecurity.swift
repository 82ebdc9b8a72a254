import StoreCore

/// How a server secures its connections by NBD_OPT_STARTTLS. This target knows when to upgrade and what holds before
/// and after; how the bytes are protected is somebody else's.
public protocol TransportSecurity: Sendable {
    /// Runs the server's side of the handshake over a stream whose client was told to begin, and returns the stream
    /// above it. Blocks the thread; whoever calls may end it by aborting `transport`.
    ///
    /// Throws when the client is not who it must be, breaks the protocol or is too slow; the stream is of no more use
    /// then. `transport` belongs to the returned stream, or stays with the caller where this throws.
    func secure(_ transport: any Transport, within nanoseconds: UInt64) throws -> SecuredTransport
    /// Told of a client that tried to get around the upgrade, for the log.
    func noteRefusal(of peer: String, _ reason: String)
}

/// A stream that nobody on the way can read or change.
public struct SecuredTransport: Sendable {
    public var transport: any Transport
    /// Who the client has proven to be.
    public var client: NBDClient
    public init(_ transport: any Transport, client: NBDClient) {
        self.transport = transport
        self.client = client
    }
}

/// The security of a server, and from whom it is demanded.
public struct NBDSecurity: Sendable {
    public enum Demand: Sendable, Equatable {
        /// The client chooses (the specification's SELECTIVETLS, with no export that demands it).
        case offered
        /// Nothing but STARTTLS and ABORT is answered before the upgrade (FORCEDTLS).
        case required
    }
    public var transport: any TransportSecurity
    /// Of clients that come over a network, and of streams that do not say where they come from.
    public var remote: Demand
    /// Of clients of this machine, over unix sockets and pipes.
    public var local: Demand

    public init(_ transport: any TransportSecurity, remote: Demand, local: Demand) {
        self.transport = transport
        self.remote = remote
        self.local = local
    }

    func demand(of origin: PeerOrigin) -> Demand {
        switch origin {
        case .local: local
        case .remote: remote
        }
    }
}
