import Foundation
import StoreCore
import Testing

@testable import ObjectStorage

@Suite struct ADirectoryStore {
    private func temporaryFiles(_ path: String) throws -> [String] {
        let folder = path + "/.tmp"
        guard FileManager.default.fileExists(atPath: folder) else { return [] }
        return try FileManager.default.subpathsOfDirectory(atPath: folder)
    }

    @Test func leavesNoTemporaryFilesAndGivesObjectsTheirOwnNames() async throws {
        try await withTemporaryDirectory { path in
            let store = try await DirectoryStore(path: path)
            _ = try await store.create("a/b/c", [1, 2, 3])
            _ = try await store.create("a/b/c", [4])
            #expect(try Data(contentsOf: URL(fileURLWithPath: path + "/a/b/c")) == Data([1, 2, 3]))
            #expect(try temporaryFiles(path).filter { $0.contains("/") } == [])
        }
    }

    @Test func sweepsWhatACrashedProcessLeftAndNothingOfTheLiving() async throws {
        try await withTemporaryDirectory { path in
            let dead = path + "/.tmp/0000000000000001"
            try FileManager.default.createDirectory(atPath: dead, withIntermediateDirectories: true)
            try Data(count: 100).write(to: URL(fileURLWithPath: dead + "/0000000000000001"))
            let living = try await DirectoryStore(path: path)
            #expect(try temporaryFiles(path) == [])
            _ = try await living.create("a", [1])
            let home = try #require(try temporaryFiles(path).first)
            try Data(count: 100).write(to: URL(fileURLWithPath: path + "/.tmp/\(home)/ffff"))
            _ = try await DirectoryStore(path: path)
            #expect(try temporaryFiles(path).contains("\(home)/ffff"))
            #expect(try await living.create("b", [2]) == .created)
        }
    }

    @Test func survivesTheRemovalOfItsTemporaryFolder() async throws {
        try await withTemporaryDirectory { path in
            let store = try await DirectoryStore(path: path)
            _ = try await store.create("a", [1])
            try FileManager.default.removeItem(atPath: path + "/.tmp")
            #expect(try await store.create("b", [2]) == .created)
        }
    }

    @Test func doesNotTakeForeignFilesForObjects() async throws {
        try await withTemporaryDirectory { path in
            let store = try await DirectoryStore(path: path)
            _ = try await store.create("a/b", [1])
            for name in [".hidden", "a/with space", "a/.b.swp", "lost+found"] {
                try Data([1]).write(to: URL(fileURLWithPath: path + "/" + name))
            }
            try FileManager.default.createSymbolicLink(atPath: path + "/link", withDestinationPath: "a/b")
            var keys: [ObjectKey] = []
            try await store.forEachObject(prefix: "") { keys.append($0.key) }
            #expect(keys == ["a/b"])
        }
    }

    @Test func prunesEmptyDirectoriesOnly() async throws {
        try await withTemporaryDirectory { path in
            let store = try await DirectoryStore(path: path)
            for key in ["a/b/c/1", "a/b/c/2", "a/d/1"] as [ObjectKey] { _ = try await store.create(key, [1]) }
            try await store.delete(["a/b/c/1"])
            #expect(FileManager.default.fileExists(atPath: path + "/a/b/c"))
            try await store.delete(["a/b/c/2"])
            #expect(!FileManager.default.fileExists(atPath: path + "/a/b"))
            try await store.delete(["a/d/1"])
            #expect(!FileManager.default.fileExists(atPath: path + "/a"))
            #expect(try await store.create("a/b/c/3", [1]) == .created)
        }
    }

    @Test func creationsWinTheirRacesAgainstPruning() async throws {
        try await withTemporaryDirectory { path in
            let stores = [try await DirectoryStore(path: path), try await DirectoryStore(path: path)]
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in 0..<6 {
                    group.addTask {
                        let store = stores[worker % 2]
                        for turn in 0..<60 {
                            let key = ObjectKey("x/y/z/\(worker)")
                            guard try await store.create(key, [UInt8(turn)]) == .created else {
                                throw StorageError(.alreadyExists, "\(key)")
                            }
                            guard try await stores[(worker + 1) % 2].get(key) == [UInt8(turn)] else {
                                throw StorageError(.corrupt, "\(key)")
                            }
                            try await store.delete([key])
                        }
                    }
                }
                try await group.waitForAll()
            }
            #expect(!FileManager.default.fileExists(atPath: path + "/x"))
        }
    }

    @Test func twoStoresOverOneDirectoryHaveOneWinner() async throws {
        try await withTemporaryDirectory { path in
            let stores = [try await DirectoryStore(path: path), try await DirectoryStore(path: path)]
            for round in 0..<20 {
                let key = ObjectKey("race/\(round)")
                let winners = try await withThrowingTaskGroup(of: CreateOutcome.self) { group in
                    for rival in 0..<8 {
                        group.addTask { try await stores[rival % 2].create(key, [UInt8(rival)]) }
                    }
                    return try await group.reduce(0) { $0 + ($1 == .created ? 1 : 0) }
                }
                #expect(winners == 1)
            }
        }
    }

    @Test func pagesThroughOneLargeDirectory() async throws {
        try await withTemporaryDirectory { path in
            let store = try await DirectoryStore(path: path)
            try FileManager.default.createDirectory(atPath: path + "/log", withIntermediateDirectories: true)
            let names = (0..<700).map { "log/\(UInt64($0 * 7919 % 700).hex)" }
            for name in names { try Data([1]).write(to: URL(fileURLWithPath: path + "/" + name)) }
            for empty in 0..<50 {
                try FileManager.default.createDirectory(
                    atPath: path + "/log/\(UInt64(empty).hex)-empty", withIntermediateDirectories: true)
            }
            for limit in [1, 7, 100, 699, 700, 1000] {
                var found: [String] = []
                var after: ObjectKey?
                while limit > 1 || found.count < 40 {
                    let page = try await store.list(prefix: "log/", after: after, limit: limit)
                    found += page.objects.map(\.key.text)
                    after = page.objects.last?.key
                    if !page.isTruncated { break }
                }
                #expect(found == Array(names.sorted().prefix(found.count)))
                #expect(limit == 1 || found.count == 700)
            }
        }
    }

    /// A number is deleted once a higher one exists, whose name sorts first.
    @Test(arguments: [["n/8", "n/9"], ["n/8"]] as [[ObjectKey]])
    func aNameThatGoesAsItIsListedDoesNotHideWhatCameBefore(deleted: [ObjectKey]) async throws {
        try await withTemporaryDirectory { path in
            let store = try await DirectoryStore(path: path)
            for key in ["n/8", "n/9"] as [ObjectKey] { _ = try await store.create(key, [1]) }
            var looks = 0
            let page = try store.listNow(prefix: "n/", after: nil, limit: 1) { key throws(StorageError) in
                looks += 1
                guard looks == 1 else { return }
                _ = try store.createNow("n/7", [1])
                try store.deleteNow(deleted)
            }
            #expect(page.objects.map(\.key) == ["n/7"])
            #expect(page.isTruncated == (deleted.count == 1))
        }
    }

    @Test func norDoesAFolderThatGoes() async throws {
        try await withTemporaryDirectory { path in
            let store = try await DirectoryStore(path: path)
            for key in ["a/b/2", "a/c", "a/d/1"] as [ObjectKey] { _ = try await store.create(key, [1]) }
            var looks = 0
            let page = try store.listNow(prefix: "", after: nil, limit: 10) { key throws(StorageError) in
                looks += 1
                guard looks == 1 else { return }
                _ = try store.createNow("a/a", [1])
                _ = try store.createNow("a/b/1", [1])
                try store.deleteNow(["a/d/1"])
            }
            #expect(page.objects.map(\.key) == ["a/a", "a/b/1", "a/b/2", "a/c"])
        }
    }

    @Test func deletionsWithoutEndDoNotKeepAListFromItsEnd() async throws {
        try await withTemporaryDirectory { path in
            let store = try await DirectoryStore(path: path)
            _ = try await store.create("n/1000", [1])
            var looks = 0
            let error = #expect(throws: StorageError.self) {
                try store.listNow(prefix: "n/", after: nil, limit: 1) { key throws(StorageError) in
                    looks += 1
                    // Should it go on forever, the test ends all the same.
                    guard looks < 100 else { return }
                    _ = try store.createNow(ObjectKey("n/\(1000 + looks)"), [1])
                    try store.deleteNow([key])
                }
            }
            #expect(error?.code == .unavailable && looks < 100)
        }
    }

    @Test func saysClearlyWhatIsWrongWithThePath() async throws {
        try await withTemporaryDirectory { path in
            #expect(await code { _ = try await DirectoryStore(path: "relative") } == .invalid)
            #expect(await code { _ = try await DirectoryStore(path: path + "/none") } == .notFound)
            let store = try await DirectoryStore(path: path + "/new/deep", createIfMissing: true)
            #expect(try await store.create("a", [1]) == .created)
            _ = try await DirectoryStore(path: path + "/new/deep", createIfMissing: true)
            #expect(await code { _ = try await DirectoryStore(path: path + "/new/deep/a") } == .invalid)
            #expect(
                await code { _ = try await DirectoryStore(path: path + "/new/deep/a/b", createIfMissing: true) }
                    == .invalid)
        }
    }

    @Test func aKeyIsAnObjectOrAFolder() async throws {
        try await withTemporaryDirectory { path in
            let store = try await DirectoryStore(path: path)
            _ = try await store.create("a/b", [1])
            #expect(await code { _ = try await store.create("a", [1]) } == .invalid)
            #expect(await code { _ = try await store.create("a/b/c", [1]) } == .invalid)
        }
    }

    @Test func keysMayBeAsLongAsS3Takes() async throws {
        try await withTemporaryDirectory { path in
            let store = try await DirectoryStore(path: path)
            let long = ObjectKey(String(repeating: "x/", count: 511) + "yz")
            #expect(try await store.create(long, [1]) == .created)
            #expect(try await store.get(long) == [1])
            #expect(try await store.list(prefix: "x/x/", after: nil, limit: 10).objects.map(\.key) == [long])
            try await store.delete([long])
            #expect(!FileManager.default.fileExists(atPath: path + "/x"))
            #expect(await code { _ = try await store.create(ObjectKey(long.text + "z"), [1]) } == .invalid)
        }
    }
}
