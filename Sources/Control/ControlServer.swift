import FlyingFox
import Foundation
public import Logging
import StoreCore
import Synchronization

/// The server's HTTP interface: commands, health, statistics and metrics (docs/cli.md). Thread-safe.
public final class ControlServer: Sendable {
    private let handler: ControlHandler
    /// Guards what listens.
    private let listeners = Mutex<[ControlListener]>([])

    /// - Parameters:
    ///   - store: what commands run on.
    ///   - snapshot: the figures of now, for statistics and metrics.
    public init(
        _ store: any StoreCommands, health: HealthReport, log: Logger,
        snapshot: @escaping @Sendable () async -> ServerSnapshot
    ) {
        handler = ControlHandler(store: store, health: health, log: log, snapshot: snapshot)
    }

    /// Listens, and returns the address as bound.
    ///
    /// Throws `busy` where another server answers there, `invalid`, `denied` or `unavailable` where it cannot be used.
    public func start(on address: ControlAddress) async throws -> ControlAddress {
        let listener = try await ControlListener.start(address, handler: handler)
        listeners.withLock { $0.append(listener) }
        return listener.address
    }

    /// From now on `/healthz` says that the server leaves, and commands are refused.
    public func beginDraining() { handler.isDraining.withLock { $0 = true } }

    /// Stops listening; commands that run are cancelled.
    public func stop() async {
        let listeners = listeners.withLock { listeners in
            defer { listeners = [] }
            return listeners
        }
        for listener in listeners { await listener.stop() }
    }
}
