import StoreCore

/// The server's bounds. What exceeds them waits in the client (backpressure), or is refused; nothing grows without end.
public struct NBDLimits: Sendable {
    /// Requests of one connection that wait for the device or for their reply to be sent.
    public var requestsInFlightMax = 256
    /// Bytes that the buffers of such requests hold, for one connection.
    public var connectionBytesMax = 64 << 20
    /// The same for all connections together. A connection that holds nothing may always have one request,
    /// so that clients that do not read their replies cannot stop the others.
    public var totalBytesMax = 512 << 20
    /// Further connections are closed at once.
    public var connectionsMax = 2048
    /// A client that has not chosen an export by then is disconnected.
    public var handshakeDuration: Duration = .seconds(60)

    public init() {}

    /// One request's payload, announced in NBD_INFO_BLOCK_SIZE.
    static let payloadBytesMax = Limits.requestBytesMax
    static let blockBytesMin: UInt32 = 1
    static let blockBytesPreferred = UInt32(blockBytes)

    /// A string of the specification.
    static let stringBytesMax = 4096
    /// An option's data; longer ones are skipped and refused.
    static let optionBytesMax = 64 << 10
    /// Options of one handshake; a client that needs more is no client.
    static let optionsMax = 4096

    /// Payloads and replies up to this size go through the connection's fixed buffers, larger ones through their own.
    static let inlineBytesMax = 256 << 10
    /// The connection's buffer for requests, and the one for replies: room for a batch.
    static let batchBufferBytes = 2 * inlineBytesMax + (4 << 10)
    /// A large request's buffer up to this size is kept for the next one.
    static let spareBytesMax = 2 << 20
    /// Replies queued by tasks beyond this make the reader wait before it queues more.
    static let queuedBytesMax = 4 << 20

    /// From this size on, a structured read reply says which parts are zero.
    static let holeReadBytesMin = 64 << 10
    /// Zeroes shorter than this are sent as data.
    static let holeBytesMin = 16 << 10
    /// Extents in one reply to BLOCK_STATUS.
    static let extentsMax = 4096
    /// A BLOCK_STATUS payload: effect length and context ids.
    static let statusPayloadBytesMax = 8 + 4 * 16
}
