import ObjectStorage
import StoreCore

extension ObjectStoreConformance {
    static let reading: [ConformanceCheck] = [
        ConformanceCheck("a range is its bytes, cut to the object's end") { store in
            let bytes = pattern(1000, seed: 4)
            _ = try await store.create("object", bytes)
            for range in [0..<1, 0..<1000, 10..<20, 999..<1000, 500..<5000, 0..<UInt64(1 << 40)] as [Range<UInt64>] {
                let expected = Array(bytes[Int(range.lowerBound)..<min(Int(range.upperBound), 1000)])
                try requireEqual(try await store.get("object", range: range), expected, "range \(range)")
            }
        },
        ConformanceCheck("a range beyond the end is invalid") { store in
            _ = try await store.create("object", [1, 2, 3])
            for range in [3..<4, 3..<1000, 1000..<1001] as [Range<UInt64>] {
                try await requireThrows(.invalid, "range \(range) of 3 bytes") {
                    _ = try await store.get("object", range: range)
                }
            }
        },
        ConformanceCheck("what is not there is not found") { store in
            _ = try await store.create("a/b", [1])
            for key in ["none", "a", "a/c", "a/b/c", "a/b/c/d"] as [ObjectKey] {
                try await requireThrows(.notFound, "get of \(key)") { _ = try await store.get(key) }
                try await requireThrows(.notFound, "ranged get of \(key)") {
                    _ = try await store.get(key, range: 0..<1)
                }
                try requireEqual(try await store.head(key), nil, "head of \(key)")
            }
        },
        ConformanceCheck("head tells key, length and a time") { store in
            _ = try await store.create("a/object", pattern(12345, seed: 5))
            let info = try await store.head("a/object")
            try requireEqual(info?.key, "a/object", "key")
            try requireEqual(info?.byteCount, 12345, "length")
            try require((info?.modified.nanoseconds ?? 0) > 0, "no time")
        },
        ConformanceCheck("what finished is seen at once") { store in
            for number in 0..<30 {
                let key = ObjectKey("seen/\(number)")
                try requireEqual(try await store.head(key), nil, "head before")
                _ = try await store.create(key, [UInt8(number)])
                try requireEqual(try await store.get(key), [UInt8(number)], "get")
                try requireEqual(try await store.list(prefix: key.text, after: nil, limit: 1).objects.count, 1, "list")
                try await store.delete([key])
                try requireEqual(try await store.head(key), nil, "head after deletion")
                try requireEqual(
                    try await store.list(prefix: key.text, after: nil, limit: 1).objects.count, 0, "list after")
            }
        },
    ]
}
