import StoreCore

/// What a connection sends, on its way from plain bytes to the stream below. The sender's alone: one thread at a time.
///
/// Encrypted bytes can neither be taken back nor sent out of order. Where the stream below takes a part of them, the
/// rest waits here, and the plain bytes that they stand for count as not sent: they are offered again, and then skipped
/// as far as they are encrypted already (`owed`).
struct ProtectedOutput: ~Copyable {
    /// Encrypted in one go: four records of TLS.
    private static let chunkBytes = 64 << 10
    private static let recordOverheadBytes = 1 << 10

    private let plain: UnsafeMutableRawBufferPointer
    private let cipher: UnsafeMutableRawBufferPointer
    /// Protected bytes in `cipher` that are not sent yet.
    private var unsent = 0..<0
    /// Plain bytes that were encrypted and that nobody was told of.
    private var owed = 0

    init() {
        plain = .allocate(byteCount: Self.chunkBytes, alignment: 64)
        cipher = .allocate(byteCount: Self.chunkBytes + Self.recordOverheadBytes, alignment: 64)
    }
    deinit {
        plain.deallocate()
        cipher.deallocate()
    }

    /// Sends plain bytes as far as `transmit` takes them, and says how many have gone entirely.
    /// - Parameter transmit: sends a beginning of the protected bytes, and says how many that were.
    mutating func send(
        _ parts: [UnsafeRawBufferPointer], through session: TLSSession,
        _ transmit: (UnsafeRawBufferPointer) throws -> Int
    ) throws -> Int {
        guard try drain(session, transmit) else { return 0 }
        let total = parts.reduce(0) { $0 + $1.count }
        var sent = min(owed, total)
        owed -= sent
        while sent < total {
            let count = gather(parts, from: sent)
            try session.encrypt(UnsafeRawBufferPointer(rebasing: plain[..<count]))
            guard try drain(session, transmit) else {
                owed = count
                return sent
            }
            sent += count
        }
        return sent
    }

    /// Sends what is protected already; false while some is left.
    mutating func drain(_ session: TLSSession, _ transmit: (UnsafeRawBufferPointer) throws -> Int) throws -> Bool {
        while true {
            while !unsent.isEmpty {
                let count = try transmit(UnsafeRawBufferPointer(rebasing: cipher[unsent]))
                guard count > 0 else { return false }
                unsent = (unsent.lowerBound + count)..<unsent.upperBound
            }
            unsent = 0..<session.takeOutput(into: cipher)
            if unsent.isEmpty { return true }
        }
    }

    /// Small parts travel in one record. Copies from `position` on, as much as fits; returns how much.
    private func gather(_ parts: [UnsafeRawBufferPointer], from position: Int) -> Int {
        var skipped = position
        var filled = 0
        for part in parts where filled < plain.count {
            if skipped >= part.count {
                skipped -= part.count
                continue
            }
            let count = min(part.count - skipped, plain.count - filled)
            let piece = UnsafeRawBufferPointer(rebasing: part[skipped..<skipped + count])
            UnsafeMutableRawBufferPointer(rebasing: plain[filled...]).copyMemory(from: piece)
            filled += count
            skipped = 0
        }
        return filled
    }
}
