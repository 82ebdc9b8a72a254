import Cleaner
import StoreCore

/// What `verify` found: each damaged object, and below it what cannot be read of which volume.
enum VerifyPage {
    static func lines(_ report: VerifyReport) -> [String] {
        var lines = report.damaged.flatMap { damage in
            ["\(damage.object): \(damage.problem)"] + damage.affected.map { "  " + affected($0) }
                + more(damage.moreAffected, "volumes and snapshots", indent: "  ")
        }
        lines += more(report.moreDamaged, "damaged objects", indent: "")
        let count = UInt64(report.damaged.count) + report.moreDamaged
        let what = report.deep ? "all data read" : "maps and metadata read; --deep reads all data"
        lines.append(
            "\(report.objectsChecked) objects, \(ByteSize.format(report.bytesChecked)) checked (\(what)): "
                + (count == 0 ? "no damage" : "\(count) damaged"))
        return lines
    }

    /// Blocks are what a volume's map knows; bytes are what a disk's user looks for.
    private static func affected(_ affected: VerifyReport.Affected) -> String {
        guard !affected.ranges.isEmpty else { return "\(affected.name) refers to it" }
        let ranges = affected.ranges.map { range in
            let blocks = BlockRange.touching(byteOffset: range.firstByte, byteCount: range.byteCount)
            return "\(blocks) (bytes \(range.firstByte)..<\(range.firstByte + range.byteCount))"
        }
        return "\(affected.name): " + (ranges + more(affected.moreRanges, "ranges", indent: "")).joined(separator: ", ")
    }
    private static func more(_ count: UInt64, _ what: String, indent: String) -> [String] {
        count == 0 ? [] : ["\(indent)and \(count) more \(what)"]
    }
}
