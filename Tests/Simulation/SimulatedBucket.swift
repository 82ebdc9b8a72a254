public import ObjectStorage
public import StoreCore

/// What an object store holds, and everything that ever happened to it. Processes reach it through `SimulatedStore`.
public final class SimulatedBucket: @unchecked Sendable {
    public struct Object: Sendable {
        public var bytes: [UInt8]
        public var modified: Timestamp
    }
    /// An effect: at this step an object came or went.
    public struct Event: Sendable {
        public enum Kind: Sendable { case created, deleted }
        public var kind: Kind
        public var key: ObjectKey
        /// Whose request it was.
        public var process: String
        public var step: UInt64
        public var time: UInt64
    }

    public private(set) var objects: [ObjectKey: Object] = [:]
    /// All keys, sorted.
    public private(set) var keys: [ObjectKey] = []
    public private(set) var history: [Event] = []
    /// Every request, in the order of their sending; see `StoreCall`.
    public private(set) var calls: [StoreCall] = []
    /// Whether `calls` is kept.
    public var recordsCalls = false
    public var faults = StoreFaults()
    /// Until then, in virtual nanoseconds, nothing is answered.
    public var outageEnd: UInt64 = 0
    /// Faults that struck, by kind.
    public private(set) var faultCounts: [String: Int] = [:]
    public private(set) var requestCount = 0
    /// Looks at each request before it is sent; a scenario may answer with a fault of its choice.
    public var intercept: ((StoreCall) -> StoreFault?)?
    /// Called with what each creation sends, whatever becomes of it.
    public var onSending: ((ObjectKey, [UInt8]) -> Void)?
    /// Called after each effect.
    public var onEffect: ((Event) -> Void)?
    private var held: [String: [() -> Void]] = [:]
    let scheduler: Scheduler

    public init(scheduler: Scheduler, objects: [ObjectKey: [UInt8]] = [:]) {
        self.scheduler = scheduler
        for (key, bytes) in objects.sorted(by: { $0.key < $1.key }) {
            self.objects[key] = Object(bytes: bytes, modified: Timestamp(nanoseconds: 0))
            keys.append(key)
        }
    }

    /// The bytes of all objects, to begin another bucket with.
    public var contents: [ObjectKey: [UInt8]] { objects.mapValues(\.bytes) }

    func count(_ fault: String) { faultCounts[fault, default: 0] += 1 }

    // MARK: Effects, each at one moment

    func create(_ key: ObjectKey, _ bytes: [UInt8], by process: SimulatedProcess) -> CreateOutcome {
        guard objects[key] == nil else { return .exists }
        objects[key] = Object(bytes: bytes, modified: Timestamp(nanoseconds: Int64(scheduler.now)))
        keys.insert(key, at: position(of: key))
        note(.created, key, process)
        return .created
    }
    func delete(_ key: ObjectKey, by process: SimulatedProcess) {
        guard objects.removeValue(forKey: key) != nil else { return }
        keys.remove(at: position(of: key))
        note(.deleted, key, process)
    }
    func info(_ key: ObjectKey) -> ObjectInfo? {
        objects[key].map { ObjectInfo(key: key, byteCount: UInt64($0.bytes.count), modified: $0.modified) }
    }
    func page(prefix: String, after: ObjectKey?, limit: Int) -> ObjectPage {
        var index = position(of: ObjectKey(prefix))
        if let after {
            let next = position(of: after)
            index = max(index, next < keys.count && keys[next] == after ? next + 1 : next)
        }
        var page = ObjectPage(objects: [], isTruncated: false)
        while index < keys.count, keys[index].text.utf8.starts(with: prefix.utf8) {
            if page.objects.count == limit {
                page.isTruncated = true
                break
            }
            if let info = info(keys[index]) { page.objects.append(info) }
            index += 1
        }
        return page
    }

    /// One of the keys that a LIST would show.
    func anyKey(prefix: String, after: ObjectKey?) -> ObjectKey? {
        let shown = page(prefix: prefix, after: after, limit: 1000).objects
        return shown.isEmpty ? nil : shown[Int(scheduler.random.next() % UInt64(shown.count))].key
    }

    /// Changes the bucket behind everyone's back: tampering.
    public func replace(_ key: ObjectKey, _ bytes: [UInt8]?) {
        if let bytes {
            if objects[key] == nil { keys.insert(key, at: position(of: key)) }
            objects[key] = Object(bytes: bytes, modified: Timestamp(nanoseconds: Int64(scheduler.now)))
        } else if objects.removeValue(forKey: key) != nil {
            keys.remove(at: position(of: key))
        }
    }

    private func note(_ kind: Event.Kind, _ key: ObjectKey, _ process: SimulatedProcess) {
        let event = Event(kind: kind, key: key, process: process.name, step: scheduler.steps, time: scheduler.now)
        history.append(event)
        scheduler.trace.fold(key.text)
        scheduler.note("  \(kind) \(key) by \(process.name)")
        onEffect?(event)
    }
    private func position(of key: ObjectKey) -> Int {
        var low = 0
        var high = keys.count
        while low < high {
            let middle = (low + high) / 2
            if keys[middle] < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    // MARK: What a scenario holds back

    func hold(_ name: String, _ body: @escaping () -> Void) { held[name, default: []].append(body) }
    public func heldCount(_ name: String) -> Int { held[name]?.count ?? 0 }
    /// Lets the requests go that a scenario held under this name: they take effect now.
    public func release(_ name: String) {
        for body in held.removeValue(forKey: name) ?? [] { body() }
    }

    // MARK: Records

    func begin(_ call: StoreCall) -> Int {
        requestCount += 1
        guard recordsCalls else { return -1 }
        calls.append(call)
        return calls.count - 1
    }
    func noteEffect(_ index: Int) { if index >= 0 { calls[index].effect = scheduler.steps } }
    func noteAnswer(_ index: Int, _ answer: String) {
        guard index >= 0 else { return }
        calls[index].answered = scheduler.steps
        calls[index].answer = answer
    }
}

/// A request to a simulated store. Times are scheduler steps: the request was under way from `sent` to `answered`.
public struct StoreCall: Sendable {
    public var kind: RequestKind
    /// What is read, created or deleted; empty for a list.
    public var keys: [ObjectKey]
    /// Of a creation.
    public var bytes: [UInt8] = []
    public var prefix = ""
    public var process: String
    public var sent: UInt64
    /// When it took effect; nil: not yet, or never.
    public var effect: UInt64?
    public var answered: UInt64?
    public var answer = ""
}
