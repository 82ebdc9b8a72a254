import StoreCore
import Testing

@testable import S3

@Suite struct LocationsOfStores {
    @Test func areParsed() throws {
        #expect(try S3URL.parse("s3://bucket") == S3URL(bucket: "bucket"))
        #expect(try S3URL.parse("s3://bucket/") == S3URL(bucket: "bucket"))
        #expect(try S3URL.parse("S3://my.bucket/a/b/").prefix == "a/b")
        #expect(try S3URL.parse("s3://bucket/a b").description == "s3://bucket/a b")
    }
    @Test(arguments: [
        "", "bucket/prefix", "http://bucket", "s3://", "s3:///prefix", "s3://buck et", "s3://b/a//b", "s3://b/../c",
        "s3://b/a/./c", "s3://b/a\nb", "s3://user@host/x", "s3://b/" + String(repeating: "x", count: 600),
    ])
    func areRefusedWhenNoServerCouldHoldThem(text: String) throws {
        #expect(throws: StorageError.self) { try S3URL.parse(text) }
    }
}

@Suite struct Endpoints {
    private func endpoint(
        _ url: String?, bucket: String = "bucket", region: String = "eu-west-1", pathStyle: Bool? = nil
    ) throws -> S3Endpoint {
        var configuration = S3Configuration(
            location: try S3URL(bucket: bucket, prefix: "p"), endpoint: url, region: region,
            credentials: FixedCredentials(accessKeyID: "k", secretAccessKey: "s"))
        configuration.usesPathStyle = pathStyle
        return try S3Endpoint(configuration)
    }

    @Test func ofAmazonNameTheBucketInTheHost() throws {
        #expect(try endpoint(nil).host == "bucket.s3.eu-west-1.amazonaws.com")
        #expect(try endpoint(nil).path(key: "a/b c") == "/a/b%20c")
        #expect(try endpoint(nil).path(key: nil) == "/")
        #expect(try endpoint(nil, region: "cn-north-1").host == "bucket.s3.cn-north-1.amazonaws.com.cn")
        #expect(try endpoint(nil, bucket: "dotted.name").host == "s3.eu-west-1.amazonaws.com")
    }
    @Test func ofOthersNameItInThePath() throws {
        #expect(try endpoint("https://minio.example:9000").host == "minio.example:9000")
        #expect(try endpoint("https://minio.example:9000").path(key: "a") == "/bucket/a")
        #expect(try endpoint("https://gate.example/s3/").path(key: "a") == "/s3/bucket/a")
        #expect(try endpoint("https://s3.example", pathStyle: false).host == "bucket.s3.example")
        #expect(try endpoint("https://[::1]:9000").host == "[::1]:9000")
    }
    @Test func areEncryptedUnlessToldOtherwise() throws {
        #expect(try endpoint("minio.example:9000").isSecure)
        #expect(try !endpoint("http://minio.example:9000").isSecure)
        #expect(try endpoint("HTTPS://Minio.Example:443").host == "minio.example")
        #expect(try endpoint("http://minio.example:80").host == "minio.example")
    }
    @Test(arguments: [
        "", "http://", "ftp://host", "http://user:pass@host", "http://host:0", "http://host:99999", "http://ho st",
        "http://host/?a=b", "http://host/#x", "http://[::1", "http://host:",
    ])
    func areRefusedWhenTheyAreNoServersURL(url: String) throws {
        #expect(throws: StorageError.self) { try endpoint(url) }
    }
    @Test func aRegionThatWouldChangeTheHostIsRefused() throws {
        for region in ["", "evil.com/", "US East", "a\r\nb"] {
            let configuration = S3Configuration(
                location: try S3URL(bucket: "b"), region: region,
                credentials: FixedCredentials(accessKeyID: "k", secretAccessKey: "s"))
            #expect(throws: StorageError.self) { try S3Store(configuration) }
        }
    }
}
