import ObjectStorage
import StoreConformance
import StoreCore
import Testing

@testable import S3

@Suite struct S3KeepsTheContract {
    /// moto computes an object's ETag on first use, from the buffer that a GET reads at the same time: both see a part.
    private static let checksForMoto = ObjectStoreConformance.checks.filter { !$0.name.hasPrefix("a reader sees") }

    @Test(arguments: checksForMoto)
    func onMoto(check: ConformanceCheck) async throws {
        // A bucket each: moto's listing fails when another request changes the bucket meanwhile.
        try await check.run(try await TestServer.moto.value.makeStore())
    }

    @Test(.enabled(if: TestServer.external != nil, "needs a real S3 server"), arguments: ObjectStoreConformance.checks)
    func onTheServerNamedByTheEnvironment(check: ConformanceCheck) async throws {
        try await check.run(try await SharedBucket.external.value.makeStore())
    }
}

@Suite struct RealServers {
    @Test func reachAWholeBucketAndPrefixesThatNeedEscaping() async throws {
        for server in try await TestServer.all() {
            let whole = try await server.makeStore(prefix: "")
            for prefix in ["", "a", "with space/and+plus", "percent%41", "ü/&<>'\"", "tilde~(1)!*'"] {
                var configuration = whole.configuration
                configuration.location = try S3URL(bucket: whole.configuration.location.bucket, prefix: prefix)
                let store = try S3Store(configuration)
                #expect(try await store.create("x/1", [1, 2]) == .created, "\(server.name) \(prefix)")
                #expect(try await store.create("x/2", [3]) == .created)
                #expect(try await store.get("x/1") == [1, 2])
                #expect(try await store.list(prefix: "x/", after: "x/1", limit: 9).objects.map(\.key) == ["x/2"])
                try await store.delete(["x/1", "x/2"])
                #expect(
                    try await store.list(prefix: "", after: nil, limit: 9).objects.isEmpty, "\(server.name) \(prefix)")
            }
        }
    }

    @Test func aMissingBucketIsNamed() async throws {
        for server in try await TestServer.all() {
            let store = try server.makeStoreWithoutBucket()
            let bucket = store.configuration.location.bucket
            for error in [
                try await storageError { _ = try await store.create("a", [1]) },
                try await storageError { _ = try await store.get("a") },
                try await storageError { _ = try await store.list(prefix: "", after: nil, limit: 1) },
                try await storageError { try await store.delete(["a", "b"]) },
            ] {
                #expect(error.code == .notFound, "\(server.name)")
                #expect(error.message.contains("no bucket '\(bucket)'"), "\(server.name): \(error)")
            }
        }
    }

    @Test func aChecksumOfItsOwnIsAccepted() async throws {
        for server in try await TestServer.all() {
            let store = try await server.makeStore { $0.sendsChecksum = true }
            #expect(try await store.create("a", [1, 2, 3]) == .created, "\(server.name)")
        }
    }

    @Test(.enabled(if: TestServer.external?.checksSignatures == true, "needs a server that checks signatures"))
    func aWrongSecretIsDenied() async throws {
        let server = try #require(TestServer.external)
        let good = try await server.makeStore()
        for (id, secret) in [(server.credentials.accessKeyID, "wrong-secret"), ("nobody", "wrong-secret")] {
            var configuration = good.configuration
            configuration.credentials = FixedCredentials(accessKeyID: id, secretAccessKey: secret)
            let store = try S3Store(configuration)
            for error in [
                try await storageError { _ = try await store.create("a", [1]) },
                try await storageError { _ = try await store.get("a") },
                try await storageError { _ = try await store.head("a") },
                try await storageError { _ = try await store.list(prefix: "", after: nil, limit: 1) },
                try await storageError { try await store.delete(["a", "b"]) },
            ] {
                #expect(error.code == .denied, "\(error)")
                #expect(!"\(error)".contains(secret))
            }
        }
    }

    @Test(.enabled(if: TestServer.external?.checksSignatures == true, "needs a server that checks signatures"))
    func aWrongHashIsRefusedAndNothingIsCreated() async throws {
        let store = try await #require(TestServer.external).makeStore()
        #expect(try await storageError { _ = try await store.create("a", [1, 2], sha256: .zero) }.code == .invalid)
        #expect(try await store.head("a") == nil)
    }
}

/// One bucket of a server for many tests, each under a prefix of its own.
struct SharedBucket: Sendable {
    private let configuration: S3Configuration

    init(_ server: TestServer) async throws { configuration = try await server.makeStore().configuration }

    func makeStore() throws -> S3Store {
        var configuration = configuration
        configuration.location = try S3URL(
            bucket: configuration.location.bucket, prefix: "conformance/\(UInt64.random(in: 0 ... .max).hex)")
        return try S3Store(configuration)
    }

    static let external = Task {
        guard let server = TestServer.external else { throw ServerDoesNotStart() }
        return try await SharedBucket(server)
    }
}
