public import StoreCore

/// Notices readers that go through a device in order, and says what to fetch ahead of them. A value with no effects:
/// one for each device, in the caller's lock.
///
/// A stream is believed at its second read in order. Its window then grows from 128 KiB to 4 MiB, twofold with each
/// prefetch, and the next part is asked for when half of the last one is used. Streams may interleave; reads of one
/// stream may come a little out of order, as from a client with several requests in flight.
public struct ReadAhead: Sendable {
    public static let windowBlocksMin: UInt64 = (128 << 10) / UInt64(blockBytes)
    public static let windowBlocksMax: UInt64 = (4 << 20) / UInt64(blockBytes)
    private static let streamsMax = 16

    private struct Stream {
        /// Where the reader is expected.
        var next: BlockIndex
        /// Up to here everything was asked for.
        var fetchedUpTo: BlockIndex
        var window: UInt64 = 0
        var readsInOrder = 0
        var lastUse: UInt64
    }
    private var streams: [Stream] = []
    private var clock: UInt64 = 0

    public init() {}

    /// Notes a read, and returns the blocks to fetch ahead, if any.
    /// - Parameter end: of the device; nothing beyond is returned.
    public mutating func observe(_ range: BlockRange, end: BlockIndex = BlockIndex(.max / UInt64(blockBytes)))
        -> BlockRange?
    {
        guard !range.isEmpty else { return nil }
        clock += 1
        guard let index = streams.firstIndex(where: { Self.continues($0, range) }) else {
            begin(range)
            return nil
        }
        streams[index].lastUse = clock
        streams[index].readsInOrder += 1
        streams[index].next = max(streams[index].next, range.end)
        return advance(&streams[index], end)
    }

    private func advance(_ stream: inout Stream, _ end: BlockIndex) -> BlockRange? {
        stream.fetchedUpTo = max(stream.fetchedUpTo, stream.next)
        let ahead = stream.fetchedUpTo - stream.next
        guard ahead <= stream.window / 2, stream.fetchedUpTo < end else { return nil }
        stream.window = min(max(stream.window * 2, Self.windowBlocksMin), Self.windowBlocksMax)
        let from = stream.fetchedUpTo
        stream.fetchedUpTo = min(stream.next + stream.window, end)
        guard from < stream.fetchedUpTo else { return nil }
        return BlockRange(from, upTo: stream.fetchedUpTo)
    }

    private mutating func begin(_ range: BlockRange) {
        let stream = Stream(next: range.end, fetchedUpTo: range.end, lastUse: clock)
        if streams.count < Self.streamsMax { return streams.append(stream) }
        guard let oldest = streams.indices.min(by: { streams[$0].lastUse < streams[$1].lastUse }) else { return }
        streams[oldest] = stream
    }

    /// Where it is expected, or within what was already fetched ahead of it.
    private static func continues(_ stream: Stream, _ range: BlockRange) -> Bool {
        if range.first == stream.next { return true }
        guard stream.readsInOrder > 0 else { return false }
        let back = min(stream.next.value, windowBlocksMin)
        return range.first.value + back >= stream.next.value && range.first <= stream.fetchedUpTo
    }
}
