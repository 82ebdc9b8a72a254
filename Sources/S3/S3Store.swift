public import ObjectStorage
public import StoreCore
import Synchronization

/// The object store contract over S3: AWS and whatever speaks its protocol (signature version 4).
///
/// One request per call, but for three answers that cannot be ambiguous: 409 on a conditional creation, a clock the
/// server does not accept, and credentials that have expired. All other repeating is `RetryingStore`'s.
/// Safe to use from any task. One thread, ended with the store, drives all transfers.
public final class S3Store: ObjectStore {
    public let configuration: S3Configuration
    let endpoint: S3Endpoint
    let time: any TimeSource
    private let engine: CurlEngine
    /// What to add to this machine's clock, in nanoseconds, so that the server accepts it.
    private let clockOffset = Mutex<Int64>(0)

    /// Checks the configuration and starts the transfer thread; sends nothing.
    /// - Throws: `invalid` for a bad endpoint, region or CA file; `full` without memory or threads.
    public init(_ configuration: S3Configuration, time: any TimeSource = SystemTime()) throws(StorageError) {
        self.configuration = configuration
        self.time = time
        try configuration.check()
        endpoint = try S3Endpoint(configuration)
        engine = try CurlEngine(connectionsMax: configuration.connectionsMax)
    }
    deinit { engine.stop() }

    public var location: String { configuration.location.description }

    /// The key in the bucket. Throws `invalid` for what is no key, before anything is sent.
    func objectName(_ key: ObjectKey) throws(StorageError) -> String {
        try key.requireValid()
        let name = configuration.location.keyPrefix + key.text
        guard name.utf8.count <= ObjectKey.bytesMax else {
            throw StorageError(.invalid, "object key '\(key)' is too long with the store's prefix")
        }
        return name
    }

    /// Signs and sends, and returns the answer whatever its status.
    /// - Throws: what stands in the way of any answer, as a `StorageError`; `CancellationError`.
    func send(_ call: S3Call) async throws -> HTTPResponse {
        var mayCorrectClock = true
        var mayRenewCredentials = true
        while true {
            let credentials = try await configuration.credentials.credentials()
            let signedAt = localTime
            let response = try await transfer(call, try call.request(to: self, credentials, at: signedAt))
            if response.isSuccess { return response }
            guard [400, 401, 403].contains(response.status) else { return credentials.redacting(response) }
            let refusal = S3Refusal(response)
            if mayCorrectClock, refusal.concernsClock(localTime: signedAt), let serverTime = refusal.serverTime {
                mayCorrectClock = false
                clockOffset.withLock { $0 = serverTime.nanoseconds - time.now().nanoseconds }
            } else if mayRenewCredentials, refusal.concernsCredentials,
                await configuration.credentials.discard(credentials)
            {
                mayRenewCredentials = false
            } else {
                return credentials.redacting(response)
            }
        }
    }

    private var localTime: Timestamp {
        Timestamp(nanoseconds: time.now().nanoseconds + clockOffset.withLock { $0 })
    }

    private func transfer(_ call: S3Call, _ request: HTTPRequest) async throws -> HTTPResponse {
        do {
            return try await engine.perform(request, isAbandonable: call.isAbandonable)
        } catch let failure as TransferFailure {
            throw failure.storageError(call.action, configuration.location, server: endpoint.authority)
        }
    }

    func failure(_ response: HTTPResponse, _ action: String) -> StorageError {
        S3Refusal(response).error(action, location: configuration.location)
    }
}

extension S3Configuration {
    fileprivate func check() throws(StorageError) {
        let isRegion = region.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x61...0x7a, 0x2d: true
            default: false
            }
        }
        guard isRegion, !region.isEmpty, region.utf8.count <= 64 else {
            throw StorageError(.invalid, "'\(region)' is no region: write one such as \(Self.regionDefault)")
        }
        guard (1...4096).contains(connectionsMax) else {
            throw StorageError(.invalid, "\(connectionsMax) connections to S3 cannot be: 1 to 4096 can")
        }
        guard timeouts.connect > .zero, timeouts.idle > .zero, timeouts.total > .zero else {
            throw StorageError(.invalid, "the timeouts of S3 requests must be above zero")
        }
    }
}

extension TransferFailure {
    func storageError(_ action: String, _ location: S3URL, server: String) -> StorageError {
        let what = "cannot \(action) in \(location)"
        switch kind {
        case .unreachable: return StorageError(.unavailable, "\(what): \(server) cannot be reached: \(description)")
        case .timedOut: return StorageError(.unavailable, "\(what): \(server) did not answer in time: \(description)")
        case .broken: return StorageError(.unavailable, "\(what): the connection to \(server) failed: \(description)")
        case .untrusted:
            return StorageError(
                .denied,
                "\(what): the certificate of \(server) is not trusted: \(description); name its authority's CA file")
        case .unusable: return StorageError(.invalid, "\(what): \(description)")
        case .bodyTooLarge: return StorageError(.unsupported, "\(what): \(server) sent too much: \(description)")
        }
    }
}
