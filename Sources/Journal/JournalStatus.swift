public import StoreCore

/// Figures of a journal at one moment.
public struct JournalStatus: Sendable {
    /// Bytes of all its files on disk.
    public var bytesOnDisk: Int
    public var bytesMax: Int
    /// Bytes of entries that are not released, to within 1 MiB or 50 ms of writing.
    public var bytesUnreleased: UInt64
    /// When the oldest entry that is not released was written, as exactly.
    public var oldestUnreleased: Timestamp?
    public var appended: WriteSequence
    /// Survives the host.
    public var durable: WriteSequence
    public var released: WriteSequence
    public var entries: UInt64
    /// How often `fdatasync` ran for `sync`.
    public var syncs: UInt64
    public var hasFailed: Bool
}

/// How much was written since when, in steps, so that lag is known without a record of each write.
struct LagMarks {
    private struct Mark {
        var sequence: WriteSequence
        var time: Timestamp
        var bytesBefore: UInt64
    }
    private static let countMax = 4096
    private var marks: [Mark] = []
    private var bytesAppended: UInt64 = 0

    mutating func append(_ sequence: WriteSequence, _ time: Timestamp, bytes: Int) {
        defer { bytesAppended += UInt64(bytes) }
        if let last = marks.last {
            let isDue =
                bytesAppended - last.bytesBefore >= 1 << 20 || time.nanoseconds - last.time.nanoseconds >= 50_000_000
            guard isDue, marks.count < Self.countMax else { return }
        }
        marks.append(Mark(sequence: sequence, time: time, bytesBefore: bytesAppended))
    }
    /// - Parameter isAll: nothing later was appended.
    mutating func release(upTo sequence: WriteSequence, isAll: Bool) {
        if isAll { return marks.removeAll(keepingCapacity: true) }
        // The mark before the first that is wholly unreleased begins in the released part, and stays for the rest.
        let firstLater = marks.firstIndex { $0.sequence > sequence } ?? marks.endIndex
        let isExact = firstLater < marks.endIndex && marks[firstLater].sequence == sequence.next
        marks.removeFirst(isExact ? firstLater : max(firstLater - 1, 0))
    }
    var oldest: Timestamp? { marks.first?.time }
    var bytes: UInt64 { marks.first.map { bytesAppended - $0.bytesBefore } ?? 0 }
}
