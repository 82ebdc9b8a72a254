/// Maps in parallel, at most `limit` at a time; the results stand in the order of the items. The first error stops all.
func mapConcurrently<Item: Sendable, Value: Sendable>(
    _ items: [Item], atMost limit: Int, _ body: @escaping @Sendable (Item) async throws -> Value
) async throws -> [Value] {
    var found: [(Int, Value)] = []
    found.reserveCapacity(items.count)
    try await withThrowingTaskGroup(of: (Int, Value).self) { group in
        for (index, item) in items.enumerated() {
            if index >= max(limit, 1), let next = try await group.next() { found.append(next) }
            group.addTask { (index, try await body(item)) }
        }
        for try await next in group { found.append(next) }
    }
    return found.sorted { $0.0 < $1.0 }.map(\.1)
}
