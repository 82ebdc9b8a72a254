import StoreCore

/// How to reach a bucket.
public struct S3Configuration: Sendable {
    public var location: S3URL
    /// `https://host:port`, or `http://` for an unencrypted connection; nil for AWS in `region`.
    public var endpoint: String?
    public var region: String
    public var credentials: any S3CredentialsProvider
    /// Names the bucket in the path rather than in the host name; nil decides: path with an endpoint of its own,
    /// host name at AWS.
    public var usesPathStyle: Bool?
    public var timeouts = S3Timeouts()
    /// Requests that run at once, each over a connection of its own; more wait in order.
    public var connectionsMax = 64
    /// A PEM file of certificate authorities to trust instead of the system's.
    public var caFile: String?
    /// Sends `x-amz-checksum-sha256` too, which some servers keep with the object; all check `x-amz-content-sha256`.
    public var sendsChecksum = false
    /// What a whole `get` accepts; ranges are bounded by themselves.
    public var objectBytesMax = 1 << 30

    public static let regionDefault = "us-east-1"

    public init(
        location: S3URL, endpoint: String? = nil, region: String = S3Configuration.regionDefault,
        credentials: any S3CredentialsProvider
    ) {
        self.location = location
        self.endpoint = endpoint
        self.region = region
        self.credentials = credentials
    }
}

/// How long a request may take. Times that it waits for a free connection do not count.
public struct S3Timeouts: Hashable, Sendable {
    /// Name lookup, TCP and TLS together.
    public var connect: Duration
    /// Without a single byte either way; whole seconds.
    public var idle: Duration
    /// From the first to the last byte.
    public var total: Duration

    public init(connect: Duration = .seconds(5), idle: Duration = .seconds(15), total: Duration = .seconds(300)) {
        self.connect = connect
        self.idle = idle
        self.total = total
    }
}
