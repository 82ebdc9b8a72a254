import FlyingSocks
import Synchronization
import Volumes

/// A response body that grows line by line while a command runs. Each line is sent at once, in a chunk of its own.
struct EventStream: AsyncBufferedSequence {
    typealias Element = UInt8
    let lines: AsyncStream<[UInt8]>

    func makeAsyncIterator() -> Iterator { Iterator(lines: lines.makeAsyncIterator()) }

    struct Iterator: AsyncBufferedIteratorProtocol {
        var lines: AsyncStream<[UInt8]>.Iterator
        private var rest: ArraySlice<UInt8> = []
        init(lines: AsyncStream<[UInt8]>.Iterator) { self.lines = lines }

        mutating func next() async throws -> UInt8? {
            if rest.isEmpty { rest = await lines.next()?[...] ?? [] }
            return rest.popFirst()
        }
        /// A whole line, whatever was suggested: a reader should see each as it happens.
        mutating func nextBuffer(suggested count: Int) async throws -> [UInt8]? {
            if !rest.isEmpty {
                defer { rest = [] }
                return Array(rest)
            }
            return await lines.next()
        }
    }
}

/// Lets progress through at most every 100 ms, and every change of phase: a command may report each object.
final class ProgressThrottle: Sendable {
    private struct State {
        var phase: String?
        var nextAt = ContinuousClock.now
    }
    private let state = Mutex(State())

    func admits(_ report: ProgressReport) -> Bool {
        let now = ContinuousClock.now
        return state.withLock { state in
            guard report.phase != state.phase || now >= state.nextAt else { return false }
            state.phase = report.phase
            state.nextAt = now + .milliseconds(100)
            return true
        }
    }
}
