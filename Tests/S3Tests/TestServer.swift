import Foundation
import StoreCore
import Testing

@testable import S3

/// An S3 server that the tests run against.
struct TestServer: Sendable, CustomTestStringConvertible {
    let name: String
    let endpoint: String
    let credentials: S3Credentials
    /// moto takes any signature and any hash.
    let checksSignatures: Bool

    var testDescription: String { name }

    /// A store in a bucket of its own.
    func makeStore(prefix: String = "zerofs/tests", _ change: (inout S3Configuration) -> Void = { _ in }) async throws
        -> S3Store
    {
        let store = try makeStoreWithoutBucket(prefix: prefix, change)
        try await store.createBucket()
        return store
    }

    func makeStoreWithoutBucket(prefix: String = "p", _ change: (inout S3Configuration) -> Void = { _ in }) throws
        -> S3Store
    {
        let bucket = "t-\(UInt64.random(in: 0 ... .max).hex)"
        var configuration = S3Configuration(
            location: try S3URL(bucket: bucket, prefix: prefix), endpoint: endpoint,
            credentials: FixedCredentials(credentials))
        change(&configuration)
        return try S3Store(configuration)
    }

    /// moto always, and the server that `ZEROFS_TEST_S3_ENDPOINT`, `_ACCESS_KEY` and `_SECRET_KEY` name.
    static func all() async throws -> [TestServer] { [try await moto.value] + [external].compactMap(\.self) }

    static var external: TestServer? {
        let variables = ProcessInfo.processInfo.environment
        guard let endpoint = variables["ZEROFS_TEST_S3_ENDPOINT"] else { return nil }
        return TestServer(
            name: endpoint, endpoint: endpoint,
            credentials: S3Credentials(
                accessKeyID: variables["ZEROFS_TEST_S3_ACCESS_KEY"] ?? "",
                secretAccessKey: variables["ZEROFS_TEST_S3_SECRET_KEY"] ?? ""),
            checksSignatures: true)
    }

    /// One moto for all tests of the process.
    static let moto = Task {
        let process = try ServerProcess("exec python3 -m moto.server -H 127.0.0.1 -p PORT")
        try await process.waitUntilItAnswers()
        keepAlive = process
        return TestServer(
            name: "moto", endpoint: "http://127.0.0.1:\(process.port)",
            credentials: S3Credentials(accessKeyID: "test", secretAccessKey: "testtest"), checksSignatures: false)
    }
    nonisolated(unsafe) private static var keepAlive: ServerProcess?
}
