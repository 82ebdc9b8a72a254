import ObjectStorage
import StoreCore

extension ObjectStoreConformance {
    static let creation: [ConformanceCheck] = [
        ConformanceCheck("a created object reads back") { store in
            let bytes = pattern(1000, seed: 1)
            try requireEqual(try await store.create("a/b/object", bytes), .created, "first creation")
            try requireEqual(try await store.get("a/b/object"), bytes, "contents")
        },
        ConformanceCheck("an object is never replaced") { store in
            try requireEqual(try await store.create("key", [1, 2, 3]), .created, "first creation")
            try requireEqual(try await store.create("key", [4, 5]), .exists, "second creation")
            try requireEqual(try await store.get("key"), [1, 2, 3], "contents")
        },
        equalBytes,
        ConformanceCheck("an empty object is an object") { store in
            try requireEqual(try await store.create("empty", []), .created, "creation")
            try requireEqual(try await store.get("empty"), [], "contents")
            try requireEqual(try await store.head("empty")?.byteCount, 0, "length")
            try requireEqual(try await store.create("empty", [1]), .exists, "second creation")
            try await requireThrows(.invalid, "a range of it") { _ = try await store.get("empty", range: 0..<1) }
        },
        ConformanceCheck("9 MiB come back whole and in parts") { store in
            let bytes = pattern(9 << 20, seed: 2)
            try requireEqual(try await store.create("large", bytes), .created, "creation")
            try require(try await store.get("large") == bytes, "the contents differ")
            try requireEqual(try await store.head("large")?.byteCount, UInt64(bytes.count), "length")
            let part = try await store.get("large", range: 5_000_001..<5_070_000)
            try require(part == Array(bytes[5_000_001..<5_070_000]), "a part differs")
        },
        ConformanceCheck("every allowed character makes a key") { store in
            let names = [
                "abcdefghijklmnopqrstuvwxyz", "0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "dash-dot.under_score",
                "-starts-with-a-dash", "a/b/c/d/e/f/g/h/i/j/k", "0/-/z", "two..dots",
                String(repeating: "x", count: 200),
            ].sorted { ObjectKey($0) < ObjectKey($1) }
            try await create(store, names)
            try requireEqual(try await keys(store), names, "listing")
            for name in names {
                try requireEqual(try await store.get(ObjectKey(name)), Array(name.utf8), "contents of \(name)")
            }
            try await store.delete(names.map { ObjectKey($0) })
            try requireEqual(try await keys(store), [], "listing after deletion")
        },
        ConformanceCheck("a malformed key is refused") { store in
            let names = ["", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", ".tmp/a", "a b", "ä", "a\0b"]
            for key in names.map({ ObjectKey($0) }) {
                try await requireThrows(.invalid, "get of '\(key)'") { _ = try await store.get(key) }
                try await requireThrows(.invalid, "head of '\(key)'") { _ = try await store.head(key) }
                try await requireThrows(.invalid, "create of '\(key)'") { _ = try await store.create(key, [1]) }
                try await requireThrows(.invalid, "delete of '\(key)'") { try await store.delete([key]) }
            }
        },
        ConformanceCheck("of 16 rivals exactly one creates, and its bytes stay") { store in
            for round in 0..<4 {
                let key = ObjectKey("race/\(round)/object")
                let winners = try await withThrowingTaskGroup(of: Int?.self) { group in
                    for rival in 0..<16 {
                        group.addTask {
                            let outcome = try await store.create(key, pattern(50_000, seed: UInt64(rival)))
                            return outcome == .created ? rival : nil
                        }
                    }
                    return try await group.reduce(into: [Int]()) { if let rival = $1 { $0.append(rival) } }
                }
                try requireEqual(winners.count, 1, "winners in round \(round)")
                let bytes = try await store.get(key)
                try require(bytes == pattern(50_000, seed: UInt64(winners[0])), "the bytes are not the winner's")
            }
        },
        ConformanceCheck("a reader sees no object or the whole of it") { store in
            let bytes = pattern(1 << 20, seed: 3)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<8 {
                    let key = ObjectKey("whole/\(number)")
                    group.addTask { _ = try await store.create(key, bytes) }
                    group.addTask {
                        for _ in 0..<10 {
                            do {
                                try require(try await store.get(key) == bytes, "a part of \(key) was seen")
                            } catch  where error.storageCode == .notFound {
                                continue
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
        },
    ]

    /// Apart, because retries over a store that fails ambiguously cannot promise it: they take equal bytes for theirs.
    public static let equalBytes = ConformanceCheck("equal bytes do not create an object twice") { store in
        try requireEqual(try await store.create("key", [1, 2, 3]), .created, "first creation")
        try requireEqual(try await store.create("key", [1, 2, 3]), .exists, "second creation")
    }
}
