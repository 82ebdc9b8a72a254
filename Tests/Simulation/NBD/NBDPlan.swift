import NBD
import StoreCore

/// How a run's volumes are served over NBD, where they are.
struct NBDPlan: Sendable {
    var limits: NBDLimits
    /// Connections of a client to its volume.
    var connectionCount: Int
    /// Bytes that the network takes before it blocks the server.
    var windowBytes: Int
    /// Nanoseconds that bytes are on their way, at most.
    var latencyMax: UInt64
    /// Of the connections that are made, how many are cut at some byte.
    var cuts: Double
}

extension RunPlan {
    /// Every fourth seed is served over NBD, with more clients, so that requests and replies meet.
    mutating func serveOverNBD(seed: UInt64) {
        guard seed % 4 == 3 else { return }
        var random = SplitMix64(seed: seed &* 0x9e37_79b9_7f4a_7c15 &+ 3)
        func any(_ count: UInt64) -> Int { Int(random.next() % count) }
        var limits = NBDLimits()
        if any(3) == 0 { limits.requestsInFlightMax = 1 + any(3) }
        if any(3) == 0 { limits.connectionBytesMax = 64 << 10 }
        if any(3) == 0 { limits.totalBytesMax = 96 << 10 }
        limits.handshakeDuration = .seconds(any(2) == 0 ? 60 : 2)
        nbd = NBDPlan(
            limits: limits, connectionCount: 1 + any(3), windowBytes: [2 << 10, 48 << 10, 4 << 20][any(3)],
            latencyMax: [50_000, 2_000_000, 40_000_000][any(3)], cuts: [0, 0.3, 0.9][any(3)])
        clientCount = 2 + any(7)
    }
}
