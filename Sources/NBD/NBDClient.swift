import Glibc

/// Where a stream comes from, as far as the stream itself knows.
public enum PeerOrigin: Sendable, Equatable {
    /// A process of this machine, over a unix socket or a pipe; the kernel says whose.
    case local(userID: UInt32?)
    /// Anywhere.
    case remote
}

/// Who a client is.
public struct NBDClient: Sendable, Equatable, CustomStringConvertible {
    public enum Proof: Sendable, Equatable {
        /// None: whoever reached the address.
        case none
        /// It knows the key of this user.
        case preSharedKey(user: String)
        /// It holds the key of a certificate that a trusted authority signed for these names.
        case certificate(names: [String])
        /// The kernel names its user.
        case userID(UInt32)
    }
    public var proof: Proof
    /// Whether the stream is encrypted.
    public var isSecured: Bool
    /// The kernel's word for whose process it is, whatever else it proved; nil for clients of other machines.
    public var localUserID: UInt32?

    public init(_ proof: Proof, isSecured: Bool) {
        self.proof = proof
        self.isSecured = isSecured
        if case .userID(let userID) = proof { localUserID = userID }
    }
    /// A client before, or without, an upgrade.
    init(_ origin: PeerOrigin) {
        switch origin {
        case .local(let userID?): self.init(.userID(userID), isSecured: false)
        case .local(nil), .remote: self.init(.none, isSecured: false)
        }
    }

    /// Root and the server's own user: they can read the server's keys and command it, so that no rule about clients
    /// could keep anything from them.
    public var isOwner: Bool {
        localUserID.map { $0 == 0 || $0 == geteuid() } ?? false
    }

    /// As rules name it: `psk:db1`, `cert:db1.example.com`, `uid:1000`; `anonymous` when it proved nothing.
    public var description: String {
        switch proof {
        case .none: "anonymous"
        case .preSharedKey(let user): "psk:\(user)"
        case .certificate(let names): "cert:\(names.joined(separator: ","))"
        case .userID(let userID): "uid:\(userID)"
        }
    }
}
