import ObjectStorage
import StoreCore

/// Everything that a workload did to the world, in one order: requests that change the store, operations of local
/// disks, and marks of what its clients asked and were told. The place of an event in `events` is the only clock here.
///
/// From a recording every crash that could have happened is made up afterwards, without running the workload again.
/// Used by one thread, like everything in a simulation.
final class Recorder: @unchecked Sendable {
    enum Event: Sendable {
        case sent(Int)
        /// The requester, or somebody else, has seen whether the request of this number took effect.
        case settled(Int)
        case disk(host: Int, DiskEvent)
        /// Something that a client asked or was told.
        case mark
    }

    private(set) var events: [Event] = []
    private(set) var mutations: [Mutation] = []
    private var lastOperation = 0
    /// False once the workload is over: what is done for the judge's sake is not recorded.
    var isOn = true

    var count: Int { events.count }

    @discardableResult
    func add(_ event: Event) -> Int {
        guard isOn else { return events.count }
        events.append(event)
        return events.count - 1
    }
    func mark() -> Int { add(.mark) }
    func nextOperation() -> Int {
        lastOperation += 1
        return lastOperation
    }
}

/// A request that changes the store.
struct Mutation: Sendable {
    enum Effect: Sendable {
        case create(ObjectKey, [UInt8])
        case delete(ObjectKey)
    }
    var effect: Effect
    /// The event of its sending. -1: it was under way when the recording began.
    var sent: Int
    /// It took effect in the recorded run, whether or not anybody knows.
    var tookEffect = false
    /// From this event on somebody knows whether it did.
    var settled: Int?

    var key: ObjectKey {
        switch effect {
        case .create(let key, _), .delete(let key): key
        }
    }
}

extension Recorder {
    func send(_ effect: Mutation.Effect) -> Int {
        guard isOn else { return -1 }
        mutations.append(Mutation(effect: effect, sent: add(.sent(mutations.count))))
        return mutations.count - 1
    }
    /// One that was sent by whoever crashed before this recording began, and may still arrive.
    func sendEarlier(_ effect: Mutation.Effect) { mutations.append(Mutation(effect: effect, sent: -1)) }
    func tookEffect(_ number: Int) { if number >= 0 { mutations[number].tookEffect = true } }
    func settle(_ number: Int) {
        guard number >= 0, isOn, mutations[number].settled == nil else { return }
        mutations[number].settled = add(.settled(number))
    }
    /// A reader was shown these objects: whoever made them has succeeded.
    func observe(_ keys: some Sequence<ObjectKey>) {
        let open = mutations.indices.filter { mutations[$0].settled == nil && mutations[$0].tookEffect }
        guard !open.isEmpty else { return }
        let shown = Set(keys)
        for number in open {
            if case .create(let key, _) = mutations[number].effect, shown.contains(key) { settle(number) }
        }
    }
}
