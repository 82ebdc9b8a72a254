import StoreCore
import Synchronization

/// One fetch of a record and all who wait for it. Ends exactly once; later waiters get the same end at once.
final class Flight: Sendable {
    private struct State {
        var result: Result<CachedRecord, any Error>?
        var waiters: [CheckedContinuation<CachedRecord, any Error>] = []
    }
    private let state = Mutex(State())

    func finish(_ result: Result<CachedRecord, any Error>) {
        let waiters = state.withLock { state in
            guard state.result == nil else { return [CheckedContinuation<CachedRecord, any Error>]() }
            state.result = result
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(with: result) }
    }
    /// Not cut short by cancellation: the fetch goes on for others, and is bounded by the store's own deadlines.
    func value() async throws -> CachedRecord {
        try await withCheckedThrowingContinuation { continuation in
            let result = state.withLock { state in
                if state.result == nil { state.waiters.append(continuation) }
                return state.result
            }
            if let result { continuation.resume(with: result) }
        }
    }
}

/// The fetches under way, by record: who wants one that is there joins it.
final class FlightTable: Sendable {
    private let flights = Mutex<[RecordKey: Flight]>([:])

    /// The record's flight, and whether the caller has just begun it and must see to its end.
    func join(_ key: RecordKey) -> (flight: Flight, isNew: Bool) {
        flights.withLock { flights in
            if let flight = flights[key] { return (flight, false) }
            let flight = Flight()
            flights[key] = flight
            return (flight, true)
        }
    }
    /// Ends a flight. It leaves the table first, so that after a failure the next reader tries again.
    func finish(_ key: RecordKey, _ flight: Flight, _ result: Result<CachedRecord, any Error>) {
        flights.withLock { flights in
            if flights[key] === flight { flights.removeValue(forKey: key) }
        }
        flight.finish(result)
    }
}
