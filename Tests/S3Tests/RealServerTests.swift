import ObjectStorage
import StoreCore
import Testing

@testable import S3

@Suite struct RealServers {
    @Test func objectsAreCreatedReadListedAndDeleted() async throws {
        for server in try await TestServer.all() {
            let store = try await server.makeStore()
            let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 * 7) }
            #expect(try await store.create("a/1", bytes) == .created)
            #expect(try await store.create("a/1", [1]) == .exists)
            #expect(try await store.get("a/1") == bytes)
            #expect(try await store.get("a/1", range: 10..<20) == Array(bytes[10..<20]))
            #expect(try await store.get("a/1", range: 99_990..<200_000) == Array(bytes[99_990...]))
            let page = try await store.list(prefix: "a/", after: nil, limit: 10)
            #expect(page.objects.map(\.key) == ["a/1"])
            #expect(page.objects.map(\.byteCount) == [100_000])
            #expect(try await store.head("a/1")?.byteCount == 100_000)
            try await store.delete(["a/1", "a/2"])
            #expect(try await store.head("a/1") == nil)
        }
    }
}
