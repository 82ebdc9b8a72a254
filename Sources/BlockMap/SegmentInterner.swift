import SegmentLog
import Synchronization

/// One `SegmentReference` per segment, however many runs name it: without it, the decoded tables of a large map would
/// be most of its memory. References that no one else holds any more are dropped when their number has doubled.
///
/// The mutex guards the table; any thread may call.
final class SegmentInterner: Sendable {
    private struct State {
        var known: [SegmentID: SegmentReference] = [:]
        var sweepAt = 1024
    }
    private let state = Mutex(State())

    func intern(_ segments: [SegmentReference]) -> [SegmentReference] {
        state.withLock { state in
            let shared = segments.map { segment in
                guard let known = state.known[segment.id] else {
                    state.known[segment.id] = segment
                    return segment
                }
                // Another content under a known name cannot be, but must not be believed if it is.
                return known == segment && known.header == segment.header && known.byteCount == segment.byteCount
                    ? known : segment
            }
            if state.known.count >= state.sweepAt { Self.sweep(&state) }
            return shared
        }
    }

    private static func sweep(_ state: inout State) {
        var unused: [SegmentID] = []
        var index = state.known.values.startIndex
        while index < state.known.values.endIndex {
            if isKnownUniquelyReferenced(&state.known.values[index]) { unused.append(state.known.keys[index]) }
            state.known.values.formIndex(after: &index)
        }
        for id in unused { state.known[id] = nil }
        state.sweepAt = max(1024, state.known.count * 2)
    }
}
