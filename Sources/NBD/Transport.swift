/// The byte stream under a connection: a socket, a pair of pipes, TLS above one of them, or a simulation's memory.
///
/// One thread receives; one at a time sends. `stopReceiving` and `abort` may be called from any thread at any time.
/// Errors are `StorageError` with code `unavailable`: the stream is of no more use.
public protocol Transport: AnyObject, Sendable {
    /// The other end as people want to see it: `127.0.0.1:4711`, or `unix`.
    var peer: String { get }
    /// Where it comes from; decides what security is demanded. `remote` unless the stream knows better.
    var origin: PeerOrigin { get }

    /// Blocks until there are bytes, and takes as many as there are, up to the buffer's length; 0 at the stream's end.
    /// - Parameter nanoseconds: nil waits for ever; else nil is returned when nothing came in that time.
    func receive(into buffer: UnsafeMutableRawBufferPointer, within nanoseconds: UInt64?) throws -> Int?
    /// Sends all bytes; blocks while the other end does not take them.
    func send(_ bytes: UnsafeRawBufferPointer) throws
    /// Sends what can be sent without blocking, in order, and says how many bytes that was; 0 when none. What it did
    /// not take is offered again, unchanged and before anything else, to this or to `send`.
    func trySend(_ parts: [UnsafeRawBufferPointer]) throws -> Int

    /// What has arrived can still be received; after that comes the stream's end. Wakes a blocked `receive`.
    func stopReceiving()
    /// Ends the stream at once, both ways. Wakes whoever is blocked in it.
    func abort()
    /// Gives up the stream's descriptors; called once, when nobody uses it any more.
    func close()
}

extension Transport {
    public var origin: PeerOrigin { .remote }
}
