/// A dictionary in 256 parts, each copied only when it changes: a catalog of 100,000 volumes is a value, and a commit
/// that touches one of them copies a 256th of it.
struct ShardedMap<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    static var shardCount: Int { 256 }
    private var shards: [[Key: Value]] = Array(repeating: [:], count: Self.shardCount)
    private let hash: @Sendable (Key) -> UInt64
    private(set) var count = 0

    /// - Parameter hash: its highest eight bits choose the part.
    init(hash: @escaping @Sendable (Key) -> UInt64) { self.hash = hash }

    private func shard(of key: Key) -> Int { Int(hash(key) >> 56) }

    subscript(key: Key) -> Value? {
        get { shards[shard(of: key)][key] }
        set {
            let shard = shard(of: key)
            let before = shards[shard].count
            shards[shard][key] = newValue
            count += shards[shard].count - before
        }
    }
    subscript(key: Key, default fallback: @autoclosure () -> Value) -> Value {
        get { self[key] ?? fallback() }
        set { self[key] = newValue }
    }
    func forEach(in parts: Range<Int> = 0..<Self.shardCount, _ body: (Key, Value) -> Void) {
        for shard in shards[parts] {
            for (key, value) in shard { body(key, value) }
        }
    }
}
