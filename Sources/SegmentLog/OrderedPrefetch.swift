/// Fetches many things at once and uses them one after the other, in order. At most `countMax` are being fetched or
/// wait for their turn. The first error ends everything, what is under way included.
func withPrefetch<Item: Sendable, Value: Sendable>(
    _ items: [Item], countMax: Int, _ fetch: @escaping @Sendable (Item) async throws -> Value,
    _ use: (Item, Value) async throws -> Void
) async throws {
    try await withThrowingTaskGroup(of: (Int, Value).self) { group in
        var started = 0
        var waiting: [Int: Value] = [:]
        for index in items.indices {
            while started < items.count, started - index < max(countMax, 1) {
                let (number, item) = (started, items[started])
                group.addTask { (number, try await fetch(item)) }
                started += 1
            }
            while waiting[index] == nil, let (number, value) = try await group.next() { waiting[number] = value }
            guard let value = waiting.removeValue(forKey: index) else {
                preconditionFailure("a fetch ends with a value or an error")
            }
            try await use(items[index], value)
        }
    }
}
