public import StoreCore
import Synchronization

/// Objects in memory: for tests and simulations. Nothing waits, nothing is random, and `modified` counts creations from
/// 1 ns after the epoch unless a clock is given, so that a run repeats exactly. Thread-safe.
public final class MemoryStore: ObjectStore {
    private struct Object {
        var bytes: [UInt8]
        var modified: Timestamp
    }
    private struct State {
        var objects: [ObjectKey: Object] = [:]
        /// The keys of `objects`, sorted, so that a page costs a search and not a sort.
        var order: [ObjectKey] = []
        var creations: Int64 = 0

        /// Where `key` stands, or would.
        func position(of key: ObjectKey) -> Int {
            var low = 0
            var high = order.count
            while low < high {
                let middle = (low + high) / 2
                if order[middle] < key { low = middle + 1 } else { high = middle }
            }
            return low
        }
        mutating func insert(_ key: ObjectKey, _ object: Object) {
            if objects.updateValue(object, forKey: key) == nil { order.insert(key, at: position(of: key)) }
        }
        mutating func remove(_ key: ObjectKey) {
            if objects.removeValue(forKey: key) != nil { order.remove(at: position(of: key)) }
        }
    }

    public let location: String
    private let time: (any TimeSource)?
    /// Guards all objects: every operation is one atomic step.
    private let state = Mutex(State())

    public init(_ objects: [ObjectKey: [UInt8]] = [:], location: String = "memory", time: (any TimeSource)? = nil) {
        self.location = location
        self.time = time
        for (key, bytes) in objects.sorted(by: { $0.key < $1.key }) { replace(key, bytes) }
    }

    public func get(_ key: ObjectKey, range: Range<UInt64>?) async throws -> [UInt8] {
        try key.requireValid()
        guard let bytes = state.withLock({ $0.objects[key]?.bytes }) else { throw noSuchObject(key, in: location) }
        guard range != nil else { return bytes }
        let range = try rangeWithin(UInt64(bytes.count), range, of: key)
        return Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)])
    }

    public func head(_ key: ObjectKey) async throws -> ObjectInfo? {
        try key.requireValid()
        return state.withLock { $0.objects[key].map { Self.info(key, $0) } }
    }

    public func create(_ key: ObjectKey, _ bytes: [UInt8], sha256: Digest?) async throws -> CreateOutcome {
        try key.requireValid()
        let now = time?.now()
        return state.withLock { state in
            guard state.objects[key] == nil else { return .exists }
            state.creations += 1
            state.insert(key, Object(bytes: bytes, modified: now ?? Timestamp(nanoseconds: state.creations)))
            return .created
        }
    }

    public func list(prefix: String, after: ObjectKey?, limit: Int) async throws -> ObjectPage {
        try requireValid(limit: limit)
        return state.withLock { state in
            var index = state.position(of: ObjectKey(prefix))
            if let after {
                let next = state.position(of: after)
                index = max(index, next < state.order.count && state.order[next] == after ? next + 1 : next)
            }
            var page = ObjectPage(objects: [], isTruncated: false)
            while index < state.order.count, state.order[index].text.utf8.starts(with: prefix.utf8) {
                if page.objects.count == limit {
                    page.isTruncated = true
                    break
                }
                let key = state.order[index]
                if let object = state.objects[key] { page.objects.append(Self.info(key, object)) }
                index += 1
            }
            return page
        }
    }

    public func delete(_ keys: [ObjectKey]) async throws {
        for key in keys { try key.requireValid() }
        state.withLock { state in for key in keys { state.remove(key) } }
    }

    private static func info(_ key: ObjectKey, _ object: Object) -> ObjectInfo {
        ObjectInfo(key: key, byteCount: UInt64(object.bytes.count), modified: object.modified)
    }
}

/// What a test does behind the engine's back.
extension MemoryStore {
    /// A copy of everything, to start another store from: what a crash at this moment would leave in the bucket.
    public func snapshotOfObjects() -> [ObjectKey: [UInt8]] { state.withLock { $0.objects.mapValues(\.bytes) } }
    public var keys: [ObjectKey] { state.withLock { $0.order } }
    public var objectCount: Int { state.withLock { $0.order.count } }
    public var byteCount: UInt64 { state.withLock { $0.objects.values.reduce(0) { $0 + UInt64($1.bytes.count) } } }

    /// Puts an object in place whether or not the name is taken, as the store's own damage or a rolled-back bucket.
    public func replace(_ key: ObjectKey, _ bytes: [UInt8]) {
        let now = time?.now()
        state.withLock { state in
            state.creations += 1
            state.insert(key, Object(bytes: bytes, modified: now ?? Timestamp(nanoseconds: state.creations)))
        }
    }
    /// Changes the bits of `mask` in one byte. False where there is no such object or byte.
    @discardableResult
    public func corrupt(_ key: ObjectKey, at position: Int, mask: UInt8 = 0x01) -> Bool {
        state.withLock { state in
            guard let count = state.objects[key]?.bytes.count, (0..<count).contains(position) else { return false }
            state.objects[key]?.bytes[position] ^= mask
            return true
        }
    }
    /// Cuts an object to its first `byteCount` bytes. False where there is no such object or it is not longer.
    @discardableResult
    public func truncate(_ key: ObjectKey, to byteCount: Int) -> Bool {
        state.withLock { state in
            guard let count = state.objects[key]?.bytes.count, (0..<count).contains(byteCount) else { return false }
            state.objects[key]?.bytes.removeSubrange(byteCount...)
            return true
        }
    }
    /// Loses an object. False where there is none.
    @discardableResult
    public func remove(_ key: ObjectKey) -> Bool {
        state.withLock { state in
            defer { state.remove(key) }
            return state.objects[key] != nil
        }
    }
}
