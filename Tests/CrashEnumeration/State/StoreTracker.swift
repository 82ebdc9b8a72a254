import ObjectStorage

/// Follows the store through a recording: what it holds for certain, and what is under way.
struct StoreTracker: Sendable {
    private(set) var objects: [ObjectKey: [UInt8]]
    /// Which creation made an object; what was there before has none. With `identity` two contents are told apart
    /// without looking into them.
    private var makers: [ObjectKey: Int] = [:]
    /// Of everything the store holds: equal for equal contents.
    private(set) var identity: UInt64
    /// Sent, and not known to have happened or not: oldest first.
    private(set) var underWay: [Int] = []
    private let mutations: [Mutation]

    init(_ objects: [ObjectKey: [UInt8]], mutations: [Mutation]) {
        self.objects = objects
        self.mutations = mutations
        identity = 0
        underWay = mutations.indices.filter { mutations[$0].sent < 0 }
    }

    mutating func send(_ number: Int) { underWay.append(number) }
    mutating func settle(_ number: Int) {
        underWay.removeAll { $0 == number }
        if mutations[number].tookEffect { apply(number) }
    }
    /// The identity that the store has with these having happened.
    func identity(adding numbers: [Int]) -> UInt64 {
        var identity = identity
        var changed: [ObjectKey: UInt64?] = [:]
        for number in numbers {
            let key = mutations[number].key
            let known = changed[key] ?? (objects[key] != nil ? .some(mark(of: key)) : .none)
            switch mutations[number].effect {
            case .create:
                guard known == nil else { continue }
                let mark = Self.mix(UInt64(number + 1))
                identity ^= mark
                changed[key] = .some(mark)
            case .delete:
                guard let known else { continue }
                identity ^= known
                changed[key] = .some(nil)
            }
        }
        return identity
    }
    /// What taking an object away does to the identity. What was there from the beginning is known by its name.
    private func mark(of key: ObjectKey) -> UInt64 {
        makers[key].map { Self.mix(UInt64($0 + 1)) } ?? Self.mix(1 << 40 | Self.hash(key.text))
    }

    /// The same store, with some of what is under way having happened.
    func adding(_ numbers: [Int]) -> StoreTracker {
        var other = self
        for number in numbers { other.apply(number) }
        return other
    }

    private mutating func apply(_ number: Int) {
        switch mutations[number].effect {
        case .create(let key, let bytes):
            guard objects[key] == nil else { return }
            objects[key] = bytes
            makers[key] = number
            identity ^= Self.mix(UInt64(number + 1))
        case .delete(let key):
            guard objects[key] != nil else { return }
            identity ^= mark(of: key)
            objects[key] = nil
            makers[key] = nil
        }
    }

    static func hash(_ text: String) -> UInt64 {
        text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 } & 0xff_ffff_ffff
    }
    /// SplitMix64's finaliser.
    static func mix(_ number: UInt64) -> UInt64 {
        var z = number &+ 0x9e37_79b9_7f4a_7c15
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
