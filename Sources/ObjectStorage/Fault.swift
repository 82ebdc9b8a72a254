public import StoreCore

/// What goes wrong with one request.
public enum Fault: Sendable {
    /// Fails without an effect.
    case failBefore(StorageError = .injected)
    /// Fails although it happened: the ambiguous answer of a timeout.
    case failAfter(StorageError = .injected)
    /// Fails now, and happens when `FaultStore.releaseLate` is called: a request that was delayed on its way.
    case failThenHappen(StorageError = .injected)
    /// The first bytes only: of what is read, or of what is stored.
    case truncate(toBytes: Int)
    /// One byte with the bits of `mask` changed: of what is read, or of what is stored. Positions wrap at the end.
    case corrupt(atByte: Int, mask: UInt8 = 0x01)

    func damage(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        switch self {
        case .truncate(let count): return Array(bytes.prefix(max(count, 0)))
        case .corrupt(let position, let mask) where !bytes.isEmpty: bytes[abs(position) % bytes.count] ^= mask
        default: break
        }
        return bytes
    }
}

extension StorageError {
    public static let injected = StorageError(.unavailable, "injected fault")
}

/// How often faults strike at random; each is a probability from 0 to 1.
public struct FaultRates: Sendable {
    public var failBefore: Double
    public var failAfter: Double
    /// Of reads only: stored objects stay whole.
    public var corruptReads: Double

    public init(failBefore: Double = 0, failAfter: Double = 0, corruptReads: Double = 0) {
        self.failBefore = failBefore
        self.failAfter = failAfter
        self.corruptReads = corruptReads
    }

    func fault(for request: StoreRequest, using random: inout some RandomNumberGenerator) -> Fault? {
        let draw = Double.random(in: 0..<1, using: &random)
        let position = Int.random(in: 0..<1 << 30, using: &random)
        if draw < failBefore { return .failBefore() }
        if draw < failBefore + failAfter { return .failAfter() }
        let isRead = request.kind == .get || request.kind == .rangedGet
        return isRead && draw < failBefore + failAfter + corruptReads ? .corrupt(atByte: position) : nil
    }
}
