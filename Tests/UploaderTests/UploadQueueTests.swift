import ObjectStorage
import StoreCore
import Testing

@testable import Uploader

@Suite struct QueueAcknowledgesInOrder {
    private func queue(_ count: Int) -> UploadQueue {
        var queue = UploadQueue(policy: RetryPolicy(deadline: nil), seed: 1)
        for number in 1...UInt64(count) {
            let (given, actions) = queue.submit(byteCount: 10, at: number)
            #expect(given == number && actions == [.attempt(number, isRetry: false)])
            let mayBegin = queue.begin(number)
            #expect(mayBegin)
        }
        return queue
    }
    private let error = StorageError(.unavailable, "no answer")

    @Test func laterOnesWaitForEarlierOnes() {
        var queue = queue(4)
        #expect(queue.succeeded(3) == [])
        #expect(queue.succeeded(2) == [])
        #expect(queue.frontier == 0)
        #expect(queue.succeeded(1) == [.advance(3)])
        #expect(queue.succeeded(4) == [.advance(4)])
        #expect(queue.byteCount == 0 && queue.submitted == 4)
    }

    @Test func everyOrderEndsAtTheSameFrontier() {
        for order in permutations([1, 2, 3, 4, 5] as [UInt64]) {
            var queue = queue(5)
            var told: UInt64 = 0
            for (index, number) in order.enumerated() {
                for action in queue.succeeded(number) {
                    guard case .advance(let frontier) = action else { continue }
                    #expect(frontier > told)
                    told = frontier
                }
                let done = Set(order.prefix(index + 1))
                #expect(queue.frontier == (1...6).first { !done.contains($0) }! - 1)
                #expect(queue.frontier == told)
            }
        }
    }
    private func permutations(_ items: [UInt64]) -> [[UInt64]] {
        guard items.count > 1 else { return [items] }
        return items.indices.flatMap { index in
            var rest = items
            let first = rest.remove(at: index)
            return permutations(rest).map { [first] + $0 }
        }
    }

    @Test func failuresAreTriedAgainLaterAndLater() {
        var queue = queue(1)
        var longest = Duration.zero
        for round in 1...40 {
            guard case .rest(1, let delay) = queue.failed(1, error).first else { return #expect(Bool(false)) }
            #expect(delay <= min(.seconds(5), .milliseconds(50) * (1 << min(round, 10))))
            longest = max(longest, delay)
            #expect(queue.lastError?.code == .unavailable)
            #expect(queue.rested(1) == [.attempt(1, isRetry: true)])
            let mayBegin = queue.begin(1)
            #expect(mayBegin)
        }
        #expect(longest > .seconds(2))
        #expect(queue.succeeded(1) == [.advance(1)])
        #expect(queue.lastError == nil)
    }

    @Test func nothingMovesAfterAFence() {
        var queue = queue(4)
        let fence = StorageError(.fenced, "another writer")
        #expect(queue.succeeded(1) == [.advance(1)])
        #expect(queue.failed(4, error).count == 1)
        #expect(queue.fenced(fence) == [.end(fence)])
        #expect(queue.fenced(fence) == [] && queue.stop() == [])
        #expect(queue.succeeded(2) == [] && queue.failed(3, error) == [] && queue.rested(4) == [])
        #expect(queue.frontier == 1)
        let (number, actions) = queue.submit(byteCount: 1, at: 0)
        #expect(number == 5 && actions == [])
        let mayBegin = queue.begin(4)
        #expect(!mayBegin)
    }
}
