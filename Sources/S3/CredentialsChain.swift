public import StoreCore

/// Credentials from where AWS's own tools look: `AWS_ACCESS_KEY_ID` and its companions, the profile in the shared
/// files, the role of an EC2 instance. The first place that has any wins.
///
/// They are kept, and fetched anew before they expire or when the server calls them expired. Waiting requests share one
/// look.
public actor CredentialsChain: S3CredentialsProvider {
    /// Renewed this long before they expire, so that no request is signed with what dies on the way.
    private static let renewalLead = Duration.seconds(300)
    /// After a failed renewal, while the old ones are still valid.
    private static let renewalPause = Duration.seconds(30)

    private let source: @Sendable () async throws -> S3Credentials
    private let time: any TimeSource
    private var kept: S3Credentials?
    private var look: Task<S3Credentials, any Error>?
    private var notBefore = Timestamp(nanoseconds: .min)

    public init(_ environment: AWSEnvironment = .process, time: any TimeSource = SystemTime()) {
        self.init(time: time) { try await CredentialsSearch(environment: environment).run() }
    }
    init(time: any TimeSource, source: @escaping @Sendable () async throws -> S3Credentials) {
        self.time = time
        self.source = source
    }

    public func credentials() async throws -> S3Credentials {
        guard let kept else { return try await renewed() }
        guard let expires = kept.expires else { return kept }
        let now = time.now()
        guard now.adding(Self.renewalLead) >= expires, now >= notBefore || now >= expires else { return kept }
        do {
            return try await renewed()
        } catch  where time.now() < expires {
            notBefore = time.now().adding(Self.renewalPause)
            return kept
        }
    }

    /// True: the files may have been renewed by another tool meanwhile, and roles renew themselves.
    public func discard(_ credentials: S3Credentials) async -> Bool {
        if kept == credentials { kept = nil }
        return true
    }

    private func renewed() async throws -> S3Credentials {
        if let look { return try await look.value }
        let look = Task { [source] in try await source() }
        self.look = look
        defer { self.look = nil }
        let credentials = try await look.value
        kept = credentials
        return credentials
    }
}

/// One look at all the places.
struct CredentialsSearch {
    let environment: AWSEnvironment

    func run() async throws -> S3Credentials {
        if let found = try fromVariables() { return found }
        if let found = try fromProfile() { return found }
        if let found = try await InstanceMetadata(environment).credentials() { return found }
        throw StorageError(
            .denied,
            "no S3 credentials: set them in the configuration or in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
                + "write them to \(environment.credentialsFile)")
    }

    private func fromVariables() throws(StorageError) -> S3Credentials? {
        guard let keyID = environment["AWS_ACCESS_KEY_ID"] else { return nil }
        guard let secret = environment["AWS_SECRET_ACCESS_KEY"] else {
            throw StorageError(.denied, "AWS_ACCESS_KEY_ID is set, but AWS_SECRET_ACCESS_KEY is not")
        }
        return S3Credentials(
            accessKeyID: keyID, secretAccessKey: secret, sessionToken: environment["AWS_SESSION_TOKEN"])
    }

    private func fromProfile() throws(StorageError) -> S3Credentials? {
        guard let profile = try environment.profile() else { return nil }
        let name = environment.profileName
        guard let keyID = profile["aws_access_key_id"] else {
            let elsewhere = [
                "role_arn", "sso_session", "sso_start_url", "credential_process", "web_identity_token_file",
            ]
            guard let setting = elsewhere.first(where: { profile[$0] != nil }) else { return nil }
            throw StorageError(
                .denied,
                "AWS profile '\(name)' gets its credentials by \(setting), which zerofs cannot: export them, "
                    + "for example with `eval $(aws configure export-credentials --profile \(name) --format env)`")
        }
        guard let secret = profile["aws_secret_access_key"] else {
            throw StorageError(.denied, "AWS profile '\(name)' has an aws_access_key_id but no aws_secret_access_key")
        }
        return S3Credentials(
            accessKeyID: keyID, secretAccessKey: secret, sessionToken: profile["aws_session_token"])
    }
}

extension S3Configuration {
    /// What was given, completed from the environment: endpoint, region, CA file, and credentials where none are given.
    /// - Throws: `denied` where the environment names a profile or file that cannot be used.
    public static func resolve(
        _ location: S3URL, endpoint: String? = nil, region: String? = nil,
        credentials: (any S3CredentialsProvider)? = nil, environment: AWSEnvironment = .process
    ) throws(StorageError) -> S3Configuration {
        // What is given comes first, so that a broken profile nobody needs is no obstacle.
        var resolvedEndpoint = endpoint
        var resolvedRegion = region
        if resolvedEndpoint == nil { resolvedEndpoint = try environment.endpoint() }
        if resolvedRegion == nil { resolvedRegion = try environment.region() }
        var configuration = S3Configuration(
            location: location, endpoint: resolvedEndpoint, region: resolvedRegion ?? regionDefault,
            credentials: credentials ?? CredentialsChain(environment))
        configuration.caFile = try environment.caFile()
        return configuration
    }
}
