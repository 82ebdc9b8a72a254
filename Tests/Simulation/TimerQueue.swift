/// What is due when; equal times in the order of their making. A binary heap.
struct TimerQueue {
    private var heap: [(due: UInt64, id: UInt64)] = []
    private var work: [UInt64: Scheduler.Work] = [:]

    var nextDue: UInt64? { heap.first?.due }

    mutating func insert(due: UInt64, id: UInt64, _ body: Scheduler.Work) {
        work[id] = body
        heap.append((due, id))
        var child = heap.count - 1
        while child > 0, isBefore(child, (child - 1) / 2) {
            heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    /// One that has fired is no error.
    mutating func remove(_ id: UInt64) {
        guard work.removeValue(forKey: id) != nil else { return }
        dropCancelled()
    }

    mutating func removeFirst() -> Scheduler.Work {
        guard let body = work.removeValue(forKey: heap[0].id) else { preconditionFailure("the first timer is live") }
        popHeap()
        dropCancelled()
        return body
    }

    private mutating func dropCancelled() {
        while let first = heap.first, work[first.id] == nil { popHeap() }
    }
    private mutating func popHeap() {
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < heap.count && isBefore(child, least) {
                least = child
            }
            guard least != parent else { return }
            heap.swapAt(parent, least)
            parent = least
        }
    }
    private func isBefore(_ a: Int, _ b: Int) -> Bool { (heap[a].due, heap[a].id) < (heap[b].due, heap[b].id) }
}
