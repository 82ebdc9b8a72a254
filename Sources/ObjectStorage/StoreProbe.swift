import StoreCore

/// Asks a store whether it keeps the promises that zerofs cannot do without: a store that ignores a creation's
/// condition lets two writers destroy each other's volume without either noticing.
public enum StoreProbe {
    /// Creates, reads, lists and deletes a small object below `probe/`. Throws `unsupported` with the reason for a
    /// store that zerofs must not use, and otherwise what the store itself throws (`denied`, `unavailable`, `full`).
    public static func check(_ store: any ObjectStore) async throws {
        let key = ObjectKey("probe/\(UInt128.random(in: .min ... .max).hex)")
        do {
            try await checkPromises(of: store, with: key)
        } catch {
            await removeLeftover(key, from: store)
            throw error
        }
        // Twice: a creation that timed out and was tried again may happen after the first deletion.
        for _ in 0..<2 {
            try await store.delete([key])
            if try await store.head(key) == nil { return }
        }
        throw refusal(of: store, "does not delete objects, or shows them afterwards")
    }

    /// The first failure is what matters; what may stay behind is a few bytes that nothing refers to.
    private static func removeLeftover(_ key: ObjectKey, from store: any ObjectStore) async {
        do { try await store.delete([key]) } catch { return }
    }

    private static func checkPromises(of store: any ObjectStore, with key: ObjectKey) async throws {
        let first = Array("zerofs probe: first".utf8)
        let second = Array("zerofs probe: the second".utf8)
        guard try await store.create(key, first) == .created else {
            throw refusal(of: store, "says that an object with a new random name exists already")
        }
        let outcome = try await store.create(key, second)
        let stored = try await store.get(key)
        guard outcome == .exists, stored == first else {
            throw refusal(
                of: store, "ignores conditional writes (If-None-Match: *): a second creation replaced the first")
        }
        guard try await store.get(key, range: 7..<12) == Array(first[7..<12]) else {
            throw refusal(of: store, "ignores ranges of reads")
        }
        let page = try await store.list(prefix: key.text, after: nil, limit: 10)
        guard page.objects.map(\.key) == [key], page.objects[0].byteCount == UInt64(first.count) else {
            throw refusal(of: store, "does not list an object that was just created")
        }
    }

    private static func refusal(of store: any ObjectStore, _ what: String) -> StorageError {
        StorageError(.unsupported, "\(store.location) \(what); zerofs needs it, use another store")
    }
}
