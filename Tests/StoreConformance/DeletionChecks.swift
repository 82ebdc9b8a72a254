import ObjectStorage
import StoreCore

extension ObjectStoreConformance {
    static let deletion: [ConformanceCheck] = [
        ConformanceCheck("what is deleted is gone, and nothing else") { store in
            try await create(store, ["a/1", "a/2", "a/3", "b"])
            try await store.delete(["a/1", "a/3"])
            try requireEqual(try await keys(store), ["a/2", "b"], "listing")
            try await requireThrows(.notFound, "get") { _ = try await store.get("a/1") }
            try requireEqual(try await store.get("a/2"), Array("a/2".utf8), "what stays")
        },
        ConformanceCheck("deleting again is no error") { store in
            try await create(store, ["a/1"])
            try await store.delete(["a/1"])
            try await store.delete(["a/1"])
            try await store.delete(["never/there", "a/1", "a"])
            try await store.delete([])
        },
        ConformanceCheck("a deleted name can be created again") { store in
            try await create(store, ["a/b/c"])
            try await store.delete(["a/b/c"])
            try requireEqual(try await store.create("a/b/c", [9]), .created, "creation")
            try requireEqual(try await store.get("a/b/c"), [9], "contents")
        },
        ConformanceCheck("a folder whose objects are gone can become an object") { store in
            try await create(store, ["a/b/c", "a/b/d"])
            try await store.delete(["a/b/c", "a/b/d"])
            try requireEqual(try await store.create("a", [1]), .created, "creation")
            try requireEqual(try await keys(store), ["a"], "listing")
        },
        ConformanceCheck("one deletion takes more than a page of keys") { store in
            let names = (0..<1100).map { "bulk/\($0)" }
            try await inParallel(names) { _ = try await store.create(ObjectKey($0), []) }
            try await store.delete((names + ["bulk/none"]).map { ObjectKey($0) })
            try requireEqual(try await keys(store), [], "listing")
        },
        ConformanceCheck("creations and deletions side by side disturb nothing") { store in
            try await inParallel(Array(0..<8)) { worker in
                for turn in 0..<20 {
                    let key = ObjectKey("churn/x/y/\(worker)")
                    try requireEqual(try await store.create(key, [UInt8(turn)]), .created, "creation")
                    try requireEqual(try await store.get(key), [UInt8(turn)], "contents")
                    try await store.delete([key])
                }
            }
            try requireEqual(try await keys(store), [], "listing")
        },
    ]
}
