import ObjectStorage
import StoreCore

extension ObjectStoreConformance {
    /// `-` and `.` sort before `/`, which sorts before digits: a directory's order of names is another one.
    private static let mixed = [
        "a-b", "a-b-c", "a.b", "a/b", "a/b-c", "a/c/d", "a/c/e", "a/c-d", "a0", "ab/c", "b", "b-/c", "b0/c", "c/d/e/f",
    ]

    static let listing: [ConformanceCheck] = [
        ConformanceCheck("an empty store lists nothing") { store in
            for prefix in ["", "a", "a/", "a/b/c/"] {
                let page = try await store.list(prefix: prefix, after: nil, limit: 10)
                try requireEqual(page, ObjectPage(objects: [], isTruncated: false), "listing of '\(prefix)'")
            }
        },
        ConformanceCheck("a list is in byte order of whole keys") { store in
            try await create(store, mixed.shuffled())
            try requireEqual(try await keys(store), sorted(mixed), "listing")
            let page = try await store.list(prefix: "", after: nil, limit: 1000)
            for object in page.objects {
                try requireEqual(object.byteCount, UInt64(object.key.text.utf8.count), "length of \(object.key)")
                try require(object.modified.nanoseconds > 0, "\(object.key) has no time")
            }
        },
        ConformanceCheck("a prefix need not end at a slash") { store in
            try await create(store, mixed)
            for prefix in [
                "a", "a-", "a/", "a/b", "a/c", "a/c/", "a/c/d", "b", "b/", "c/d/e", "none", "none/x", "a//", "../", "/",
            ] {
                let expected = sorted(mixed.filter { $0.utf8.starts(with: prefix.utf8) })
                try requireEqual(try await keys(store, prefix: prefix), expected, "listing of '\(prefix)'")
            }
        },
        ConformanceCheck("after and limit cut a list anywhere") { store in
            try await create(store, mixed)
            let places =
                mixed + ["a", "a/", "a/c", "a/b-", "a/c/dd", "a/zzz", "0", "zzz", "b-", "b-/", "c/d/e/g", "a-b/c"]
            for prefix in ["", "a", "a/", "a/c"] {
                for after in places {
                    let rest = sorted(
                        mixed.filter { $0.utf8.starts(with: prefix.utf8) && ObjectKey(after) < ObjectKey($0) })
                    for limit in [1, 3, 1000] {
                        let page = try await store.list(prefix: prefix, after: ObjectKey(after), limit: limit)
                        let what = "listing of '\(prefix)' after \(after), limit \(limit)"
                        try requireEqual(page.objects.map(\.key.text), Array(rest.prefix(limit)), what)
                        try require(page.isTruncated || rest.count <= limit, "\(what) hides that more follow")
                        try require(!page.isTruncated || !page.objects.isEmpty, "\(what) is empty and not the last")
                    }
                }
            }
        },
        ConformanceCheck("1500 objects come in pages, each once and in order") { store in
            let names = (0..<1500).map { number in
                let digits = String(number)
                return "many/\(number % 3)/" + String(repeating: "0", count: 6 - digits.utf8.count) + digits
            }
            try await inParallel(names) { _ = try await store.create(ObjectKey($0), [1]) }
            try requireEqual(try await keys(store), sorted(names), "all pages")
            var found: [String] = []
            var after: ObjectKey?
            var pages = 0
            while true {
                let page = try await store.list(prefix: "many/", after: after, limit: 400)
                try require(page.objects.count <= 400, "a page of \(page.objects.count) objects")
                found += page.objects.map(\.key.text)
                pages += 1
                guard page.isTruncated, let last = page.objects.last else { break }
                after = last.key
            }
            try requireEqual(found, sorted(names), "pages of 400")
            try require((4...5).contains(pages), "\(pages) pages of 400 for 1500 objects")
            try await store.delete(names.map { ObjectKey($0) })
            try requireEqual(try await keys(store), [], "listing after deletion of all")
        },
        ConformanceCheck("a limit outside 1...1000 is invalid") { store in
            for limit in [0, -1, 1001] {
                try await requireThrows(.invalid, "limit \(limit)") {
                    _ = try await store.list(prefix: "", after: nil, limit: limit)
                }
            }
        },
    ]

    private static func sorted(_ keys: [String]) -> [String] { keys.sorted { ObjectKey($0) < ObjectKey($1) } }
}

/// Eight at a time, so that a slow store does not make the suite slow.
func inParallel<T: Sendable>(_ items: [T], _ body: @escaping @Sendable (T) async throws -> Void) async throws {
    try await withThrowingTaskGroup(of: Void.self) { group in
        for (index, item) in items.enumerated() {
            if index >= 8 { try await group.next() }
            group.addTask { try await body(item) }
        }
        try await group.waitForAll()
    }
}
