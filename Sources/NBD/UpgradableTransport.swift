import StoreCore
import Synchronization

/// A connection's stream that becomes a secured one in its midst.
///
/// All who hold it go on with it: the upgrade happens between two messages of the handshake, while nobody else sends or
/// receives. `stopReceiving` and `abort` may come at that moment; both streams end in the same socket.
final class UpgradableTransport: Transport {
    private let current: Mutex<any Transport>
    let peer: String
    let origin: PeerOrigin

    init(_ plain: any Transport) {
        peer = plain.peer
        origin = plain.origin
        current = Mutex(plain)
    }

    private var now: any Transport { current.withLock { $0 } }

    /// Blocks the thread; see `TransportSecurity.secure`.
    func upgrade(by security: any TransportSecurity, within nanoseconds: UInt64) throws -> NBDClient {
        let secured = try security.secure(now, within: nanoseconds)
        current.withLock { $0 = secured.transport }
        return secured.client
    }

    func receive(into buffer: UnsafeMutableRawBufferPointer, within nanoseconds: UInt64?) throws -> Int? {
        try now.receive(into: buffer, within: nanoseconds)
    }
    func send(_ bytes: UnsafeRawBufferPointer) throws { try now.send(bytes) }
    func trySend(_ parts: [UnsafeRawBufferPointer]) throws -> Int { try now.trySend(parts) }
    func stopReceiving() { now.stopReceiving() }
    func abort() { now.abort() }
    func close() { now.close() }
}
