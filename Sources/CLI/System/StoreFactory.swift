import Glibc
import Logging
import ObjectStorage
import S3
import StoreCore
import Volumes
import Synchronization

/// A store as commands use it, and the meter below its retries, which sees each request.
struct OpenedStore: Sendable {
    let store: any ObjectStore
    let meter: MeteringStore
    let location: StoreLocation
}

enum StoreFactory {
    /// - Parameters:
    ///   - createIfMissing: makes the directory of a directory store.
    ///   - deadline: how long a request that fails is tried again.
    static func open(
        _ settings: ZerofsConfiguration.Store, createIfMissing: Bool = false, deadline: Duration, log: Logger
    ) async throws -> OpenedStore {
        let location = try StoreLocation(parsing: settings.url)
        let watched = WatchedStore(try await base(location, settings, createIfMissing)) { report($0, location, log) }
        let meter = MeteringStore(watched)
        let reporter = RetryReporter(log)
        let store = RetryingStore(
            meter, policy: RetryPolicy(deadline: deadline), seed: .random(in: .min ... .max)
        ) { kind, error in
            meter.noteRetry()
            reporter.report(kind, error)
        }
        return OpenedStore(store: store, meter: meter, location: location)
    }

    static func report(_ news: WatchedStore.News, _ location: StoreLocation, _ log: Logger) {
        switch news {
        case .away(let error): log.event(.storeAway, "\(location.description) does not answer: \(error)")
        case .back(let away):
            log.event(.storeBack, "\(location.description) answers again after \(away.components.seconds) s")
        case .slow(let kind, let took):
            log.event(
                .storeSlow, details: ["request": kind.rawValue],
                "a request to \(location.description) took \(took.components.seconds) s")
        }
    }

    private static func base(
        _ location: StoreLocation, _ settings: ZerofsConfiguration.Store, _ createIfMissing: Bool
    ) async throws -> any ObjectStore {
        switch location {
        case .directory(let path): return try await DirectoryStore(path: path, createIfMissing: createIfMissing)
        case .s3(let url): return try S3Store(try s3(url, settings))
        }
    }

    static func s3(_ url: S3URL, _ settings: ZerofsConfiguration.Store) throws(StorageError) -> S3Configuration {
        var credentials: (any S3CredentialsProvider)?
        if let id = settings.accessKeyID, let secret = settings.secretAccessKey {
            credentials = FixedCredentials(accessKeyID: id, secretAccessKey: secret)
        }
        var configuration = try S3Configuration.resolve(
            url, endpoint: settings.endpoint, region: settings.region, credentials: credentials,
            environment: awsEnvironment(profile: settings.profile))
        configuration.usesPathStyle = settings.pathStyle
        configuration.caFile = settings.caFile ?? configuration.caFile
        configuration.sendsChecksum = settings.sendsChecksum
        configuration.connectionsMax = Int(settings.connections)
        configuration.timeouts.connect = settings.connectTimeout
        configuration.timeouts.idle = settings.idleTimeout
        return configuration
    }

    /// A profile that the configuration names counts more than what the environment says.
    private static func awsEnvironment(profile: String?) -> AWSEnvironment {
        guard let profile else { return .process }
        var variables: [String: String] = [:]
        for name in awsVariables { variables[name] = environment(name) }
        variables["AWS_PROFILE"] = profile
        return AWSEnvironment(variables: variables)
    }
    /// Without those that hold credentials.
    private static let awsVariables = [
        "HOME", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CA_BUNDLE",
        "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS",
        "AWS_EC2_METADATA_DISABLED", "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    ]
}

/// Says that a store does not answer, at once and then every ten seconds: an outage makes thousands of retries.
private final class RetryReporter: Sendable {
    private let log: Logger
    private let nextAt = Mutex(ContinuousClock.now)

    init(_ log: Logger) { self.log = log }

    func report(_ kind: RequestKind, _ error: any Error) {
        let now = ContinuousClock.now
        let isDue = nextAt.withLock { nextAt in
            guard now >= nextAt else { return false }
            nextAt = now + .seconds(10)
            return true
        }
        if isDue {
            log.warning("\(error); trying again (\(kind.rawValue))")
        } else {
            log.debug("\(error); trying again")
        }
    }
}
