/// Who asks for a device, as far as the device's owner must know.
public struct DeviceClient: Sendable, Equatable {
    /// `127.0.0.1:4711`, `[::1]:4711`, or `unix`: for logs.
    public var peer: String
    /// Runs on this machine, so that it cannot have outlived it: a unix socket's or a loopback address's peer.
    public var isLocal: Bool

    public init(peer: String, isLocal: Bool) {
        self.peer = peer
        self.isLocal = isLocal
    }
    /// Tells from the peer's address whether it is on this machine; what it cannot tell counts as elsewhere.
    public init(peer: String) {
        let isLoopback = peer.hasPrefix("127.") || peer.hasPrefix("[::1]:") || peer.hasPrefix("[::ffff:127.")
        self.init(peer: peer, isLocal: peer == "unix" || isLoopback)
    }
    /// This process itself.
    public static let here = DeviceClient(peer: "here", isLocal: true)
}
