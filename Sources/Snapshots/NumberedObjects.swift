public import ObjectStorage
public import StoreCore

/// Objects that move on by number (R5): `<prefix>/<inverted number>`, so that LIST with one key finds the highest.
///
/// Each is created once and never replaced. Numbers count from 1; the highest is never deleted. Thread-safe.
public struct NumberedObjects: Sendable {
    /// Without a slash at its end.
    public let prefix: String
    let store: any ObjectStore

    public init(prefix: String, store: any ObjectStore) {
        self.prefix = prefix
        self.store = store
    }

    public static func key(prefix: String, number: UInt64) -> ObjectKey {
        ObjectKey("\(prefix)/\((UInt64.max - number).hex)")
    }
    public func key(_ number: UInt64) -> ObjectKey { Self.key(prefix: prefix, number: number) }

    /// The number that a key under this prefix has. Throws `corrupt` for a name that no version of zerofs gives.
    public func number(of key: ObjectKey) throws(StorageError) -> UInt64 {
        let name = key.text.dropFirst(prefix.utf8.count + 1)
        guard key.text.hasPrefix(prefix + "/"), name.utf8.count == 16, let inverted = UInt64(name, radix: 16),
            inverted.hex == name, inverted != .max
        else { throw .corrupt(key.text, "its name is no number") }
        return UInt64.max - inverted
    }

    /// The highest number there is; one LIST.
    public func newestNumber() async throws -> UInt64? {
        try await store.list(prefix: prefix + "/", after: nil, limit: 1).objects.first.map { try number(of: $0.key) }
    }

    /// The highest object: one LIST, one GET.
    public func newest() async throws -> (number: UInt64, bytes: [UInt8])? {
        while let number = try await newestNumber() {
            if let bytes = try await read(number) { return (number, bytes) }
            // Deleted since the LIST, which happens only after a higher one was created; the same again is a loss.
            if try await newestNumber() == number { throw missing(number) }
        }
        return nil
    }

    /// nil where there is no such number.
    public func read(_ number: UInt64) async throws -> [UInt8]? {
        do {
            return try await store.get(key(number))
        } catch  where error.storageCode == .notFound {
            return nil
        }
    }

    public func create(_ number: UInt64, _ bytes: [UInt8]) async throws -> CreateOutcome {
        try await store.create(key(number), bytes)
    }

    /// Numbers below `bound` (all, where it is nil), the newest first, page by page, until `body` answers false.
    public func forEach(below bound: UInt64? = nil, _ body: (UInt64) async throws -> Bool) async throws {
        var after = bound.map { key($0) }
        while true {
            let page = try await store.list(prefix: prefix + "/", after: after, limit: 1000)
            for object in page.objects {
                guard try await body(try number(of: object.key)) else { return }
            }
            guard page.isTruncated, let last = page.objects.last else { return }
            after = last.key
        }
    }

    /// The numbers from `first` on, the newest first.
    public func numbers(from first: UInt64 = 1) async throws -> [UInt64] {
        var found: [UInt64] = []
        try await forEach { number in
            guard number >= first else { return false }
            found.append(number)
            return true
        }
        return found
    }

    /// - Parameter cause: what cannot be read, where that is a part of it.
    func missing(_ number: UInt64, _ cause: (any Error)? = nil) -> StorageError {
        let error = StorageError.corrupt(key(number).text, "it is the newest of its kind, and cannot be read")
        return StorageError(error.code, error.message, cause: cause)
    }
}
