import Codec
import StoreCore

/// What every segment keeps to. The builder asks before it seals and the reader after it opened, so that nothing can be
/// written that would not be read.
extension SegmentIndex {
    /// The first rule that is broken, as a line for an error; nil where all hold.
    ///
    /// - Parameter indexPosition: where the records end in the object.
    func problem(isPacked: Bool, indexPosition: Int) -> String? {
        recordProblem(indexPosition: indexPosition)
            ?? (isPacked ? (entries.isEmpty ? nil : "a packed segment maps no blocks") : logProblem())
    }

    private func recordProblem(indexPosition: Int) -> String? {
        guard records.count <= Limits.segmentEntriesMax else { return "\(records.count) records exceed the limit" }
        var position = SegmentFormat.recordsPosition
        for record in records {
            guard Int(record.position) == position else {
                return "a record at \(record.position) should be at \(position)"
            }
            if let problem = record.problem { return problem }
            position += Int(record.byteCount)
        }
        return position == indexPosition ? nil : "records end at \(position), the index begins at \(indexPosition)"
    }

    private func logProblem() -> String? {
        guard firstWrite.value > 0, firstWrite <= lastWrite else {
            return "it covers the writes \(firstWrite)...\(lastWrite)"
        }
        guard volumeBytes <= Limits.volumeBytesMax, volumeBytes % UInt64(blockBytes) == 0 else {
            return "a volume cannot have \(volumeBytes) bytes"
        }
        guard entries.count <= Limits.segmentEntriesMax else { return "\(entries.count) entries exceed the limit" }
        var end = BlockIndex(0)
        for entry in entries {
            guard entry.range.first >= end else { return "\(entry.range) follow block \(end)" }
            if let problem = entry.problem { return problem }
            end = entry.range.end
        }
        return nil
    }
}

extension SegmentEntry {
    static let blocksMax = Limits.volumeBytesMax / UInt64(blockBytes)

    fileprivate var problem: String? {
        guard range.count > 0, range.count <= Self.blocksMax, range.first.value <= Self.blocksMax - range.count else {
            return "\(range.count) blocks from block \(range.first) are no range of a volume"
        }
        guard case .data(let record, let blockOffset) = content else { return nil }
        guard UInt64(blockOffset) + range.count <= UInt64(record.blockCount) else {
            return "\(range) leave their record of \(record.blockCount) blocks"
        }
        return nil
    }
}

extension RecordLocation {
    /// A record is never larger than its blocks, and never empty.
    var problem: String? {
        guard (1...Limits.recordBlocksMax).contains(Int(blockCount)) else { return "a record of \(blockCount) blocks" }
        let tag = ObjectCipher.tagBytes
        guard Int(byteCount) > tag, Int(byteCount) <= SegmentFormat.rawBytes(Int(blockCount)) + tag else {
            return "a record of \(blockCount) blocks in \(byteCount) bytes"
        }
        return nil
    }
}
