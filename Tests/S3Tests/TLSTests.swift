import Foundation
import ObjectStorage
import StoreCore
import Testing

@testable import S3

@Suite struct Certificates {
    @Test func areCheckedAgainstTheCAFile() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString).path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { _ = try? FileManager.default.removeItem(atPath: folder) }
        // A certificate of its own for 127.0.0.1, made before the server that shows it.
        let process = try ServerProcess(
            """
            { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test \
            -addext subjectAltName=IP:127.0.0.1 -keyout \(folder)/key -out \(folder)/cert && \
            exec python3 -m moto.server -H 127.0.0.1 -p PORT -c \(folder)/cert -k \(folder)/key; }
            """)
        try await process.waitUntilItAnswers()
        let server = TestServer(
            name: "moto with TLS", endpoint: "https://127.0.0.1:\(process.port)",
            credentials: S3Credentials(accessKeyID: "k", secretAccessKey: "secret"), checksSignatures: false)

        let trusting = try await server.makeStore { $0.caFile = "\(folder)/cert" }
        let bytes = [UInt8](repeating: 9, count: 3 << 20)
        #expect(try await trusting.create("a", bytes) == .created)
        #expect(try await trusting.get("a") == bytes)

        let doubting = try server.makeStoreWithoutBucket()
        let error = try await storageError { _ = try await doubting.get("a") }
        #expect(error.code == .denied)
        #expect(error.message.contains("certificate"))

        let misled = try server.makeStoreWithoutBucket { $0.caFile = "/nowhere.pem" }
        #expect(try await storageError { _ = try await misled.get("a") }.code == .invalid)
        let plain = try S3Store(
            S3Configuration(
                location: trusting.configuration.location, endpoint: "http://127.0.0.1:\(process.port)",
                credentials: trusting.configuration.credentials))
        await #expect(throws: StorageError.self) { try await plain.get("a") }
    }
}
