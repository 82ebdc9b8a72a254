import NBD
import StoreCore

/// A stream that is encrypted and authenticated, over one that is not.
///
/// The reader's thread and whoever sends share the session, which has a lock of its own, and nothing else; waiting for
/// the stream below happens outside of it.
final class TLSTransport: Transport, @unchecked Sendable {
    /// Received in one go: some records of TLS.
    private static let receiveBytes = 64 << 10

    private let lower: any Transport
    private let session: TLSSession
    private let time: any TimeSource
    /// The reader's alone.
    private let received: UnsafeMutableRawBufferPointer
    /// The sender's alone; the contract of `Transport` has one at a time.
    private var output = ProtectedOutput()

    var peer: String { lower.peer }
    var origin: PeerOrigin { lower.origin }

    /// The handshake is still to come, `shakeHands`.
    init(over lower: any Transport, _ session: TLSSession, _ time: any TimeSource) {
        self.lower = lower
        self.session = session
        self.time = time
        received = .allocate(byteCount: Self.receiveBytes, alignment: 64)
    }
    deinit { received.deallocate() }

    /// Blocks until the handshake is done. Throws when it fails, or has not ended in time; the client is told why as
    /// far as TLS has words for it.
    func shakeHands(within nanoseconds: UInt64) throws {
        let end = time.monotonicNanoseconds() + nanoseconds
        while true {
            let progress: TLSSession.Progress
            do { progress = try session.shakeHands() } catch {
                // The alert is a courtesy: a client that does not take it at once goes without.
                _ = try output.drain(session) { try lower.trySend([$0]) }
                throw error
            }
            _ = try output.drain(session, sendWhole)
            if progress == .done { return }
            switch try fetch(until: end) {
            case nil: throw StorageError(.unavailable, "the TLS handshake took too long")
            case false?: throw StorageError(.unavailable, "the client went away during the TLS handshake")
            case true?: break
            }
        }
    }

    // MARK: Transport

    func receive(into buffer: UnsafeMutableRawBufferPointer, within nanoseconds: UInt64?) throws -> Int? {
        let end = nanoseconds.map { time.monotonicNanoseconds().addingReportingOverflow($0) }
            .map { $0.overflow ? .max : $0.partialValue }
        while true {
            let count = try decrypt(into: buffer)
            if count.isEnd || count.bytes > 0 { return count.bytes }
            guard let isOpen = try fetch(until: end) else { return nil }
            // A stream that ends without the word that nothing follows: NBD has a word of its own, DISC, so that
            // nobody takes it for a whole message.
            guard isOpen else { return 0 }
        }
    }

    /// All that is here, up to the buffer's length.
    private func decrypt(into buffer: UnsafeMutableRawBufferPointer) throws -> (bytes: Int, isEnd: Bool) {
        var filled = 0
        while filled < buffer.count {
            switch try session.decrypt(into: UnsafeMutableRawBufferPointer(rebasing: buffer[filled...])) {
            case .bytes(let count): filled += count
            case .starved: return (filled, false)
            case .ended: return (filled, true)
            }
        }
        return (filled, false)
    }

    /// Hands on what has arrived; blocks for it. False at the stream's end, nil when the time is over.
    private func fetch(until end: UInt64?) throws -> Bool? {
        var rest: UInt64?
        if let end {
            let now = time.monotonicNanoseconds()
            guard now < end else { return nil }
            rest = end - now
        }
        guard let count = try lower.receive(into: received, within: rest) else { return nil }
        guard count > 0 else { return false }
        try session.feed(UnsafeRawBufferPointer(rebasing: received[..<count]))
        return true
    }

    func send(_ bytes: UnsafeRawBufferPointer) throws {
        _ = try output.send([bytes], through: session, sendWhole)
    }
    private func sendWhole(_ bytes: UnsafeRawBufferPointer) throws -> Int {
        try lower.send(bytes)
        return bytes.count
    }
    func trySend(_ parts: [UnsafeRawBufferPointer]) throws -> Int {
        try output.send(parts, through: session) { try lower.trySend([$0]) }
    }

    func stopReceiving() { lower.stopReceiving() }
    func abort() { lower.abort() }

    func close() {
        // Where replies were cut off in the middle nothing can follow; else the client hears that this is the end.
        do {
            if try output.drain(session, { try lower.trySend([$0]) }) {
                session.sayGoodbye()
                _ = try output.drain(session) { try lower.trySend([$0]) }
            }
        } catch {
            // The stream is gone already: nobody hears.
        }
        lower.close()
    }
}
