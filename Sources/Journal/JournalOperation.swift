public import StoreCore

/// What one entry does to the volume.
public enum JournalOperation: Hashable, Sendable {
    case write(BlockRange, [UInt8])
    case zero(BlockRange)
    /// The volume's new size in bytes.
    case resize(UInt64)
}

/// An operation as a writer hands it over; its bytes are sealed before the append returns.
public enum JournalAppend {
    case write(BlockRange, UnsafeRawBufferPointer)
    case zero(BlockRange)
    case resize(UInt64)

    /// Bytes that the entry takes in a file: what to ask of `makeRoom`.
    public var entryBytes: Int { JournalFormat.entryBytes(payload: payload.count) }

    var payload: UnsafeRawBufferPointer {
        if case .write(_, let bytes) = self { bytes } else { UnsafeRawBufferPointer(start: nil, count: 0) }
    }
    func head(_ sequence: WriteSequence, _ time: Timestamp) -> EntryHead {
        switch self {
        case .write(let range, let bytes):
            precondition(range.byteCount == UInt64(bytes.count), "the bytes of a write fill its blocks")
            return EntryHead(
                sequence: sequence, time: time, first: range.first.value, count: range.count, kind: .write)
        case .zero(let range):
            return EntryHead(sequence: sequence, time: time, first: range.first.value, count: range.count, kind: .zero)
        case .resize(let bytes): return EntryHead(sequence: sequence, time: time, count: bytes, kind: .resize)
        }
    }
}

/// An entry as replay returns it.
public struct JournalEntry: Hashable, Sendable {
    public var sequence: WriteSequence
    /// When the write was applied.
    public var time: Timestamp
    public var operation: JournalOperation
    public init(sequence: WriteSequence, time: Timestamp, operation: JournalOperation) {
        self.sequence = sequence
        self.time = time
        self.operation = operation
    }
}
