import ObjectStorage
import StoreConformance
import StoreCore
import Testing

@Suite struct EveryStoreKeepsTheContract {
    @Test(arguments: ObjectStoreConformance.checks)
    func memory(check: ConformanceCheck) async throws { try await check.run(MemoryStore()) }

    @Test(arguments: ObjectStoreConformance.checks)
    func directory(check: ConformanceCheck) async throws {
        try await withTemporaryDirectory { try await check.run(DirectoryStore(path: $0)) }
    }

    @Test(arguments: ObjectStoreConformance.checks)
    func prefixOfADirectory(check: ConformanceCheck) async throws {
        try await withTemporaryDirectory { path in
            let base = try await DirectoryStore(path: path)
            _ = try await base.create("some/prefiy/a", [1])
            _ = try await base.create("some/prefix-a/a", [1])
            try await check.run(PrefixStore(base, prefix: "/some/prefix/"))
            #expect(try await base.get("some/prefiy/a") == [1])
        }
    }

    @Test(arguments: ObjectStoreConformance.checks)
    func retrying(check: ConformanceCheck) async throws {
        try await check.run(RetryingStore(MemoryStore(), seed: 1))
    }
}
