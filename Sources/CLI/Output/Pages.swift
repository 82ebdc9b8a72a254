import Cleaner
import Control
import StoreCore
import Volumes

/// What people read where `--json` is not asked for.

enum VolumeTable {
    static func lines(_ reports: [VolumeReport]) -> [String] {
        var table = TextTable([
            ("NAME", .left), ("KIND", .left), ("SIZE", .right), ("WRITTEN", .right), ("UNIQUE", .right),
            ("CREATED", .left), ("PARENT", .left), ("STATE", .left),
        ])
        for report in reports {
            table.add([
                report.name, report.kind.rawValue, ByteSize.format(report.sizeBytes), size(report.writtenBytes),
                size(report.uniqueBytes), report.created, report.parent ?? "", state(report),
            ])
        }
        return table.lines
    }
    static func size(_ bytes: UInt64?) -> String { bytes.map(ByteSize.format) ?? "-" }

    static func state(_ report: VolumeReport) -> String {
        var parts: [String] = []
        if let count = report.attachedCount, count > 0 {
            parts.append("attached")
        } else if let owner = report.owner {
            parts.append("open on \(owner)")
        }
        if report.loss != nil { parts.append("writes lost: see `zerofs accept`") }
        if !report.holds.isEmpty { parts.append("held: \(report.holds.joined(separator: ","))") }
        return parts.joined(separator: ", ")
    }
}

enum JournalTable {
    static func lines(_ reports: [JournalReport]) -> [String] {
        var table = TextTable([
            ("ID", .left), ("VOLUME", .left), ("CREATED", .left), ("WRITES", .right),
            ("WRITES MISSING", .right), ("BYTES", .right), ("BYTES MISSING", .right), ("COMPLETE", .left),
            ("OPEN ON", .left),
        ])
        for report in reports {
            table.add([
                report.id, report.volume ?? "(deleted)", report.created, "\(report.writes)",
                report.writesMissing.map { "\($0)" } ?? "?", ByteSize.format(report.bytes),
                report.bytesMissing.map(ByteSize.format) ?? "?", report.isComplete ? "yes" : "no", report.owner ?? "",
            ])
        }
        return table.lines
    }
}

enum InfoPage {
    static func lines(_ details: VolumeDetails) -> [String] {
        let summary = details.summary
        var rows: [(String, String)] = [
            ("name", summary.name), ("kind", summary.kind.rawValue), ("id", summary.id),
            ("size", "\(ByteSize.format(summary.sizeBytes)) (\(summary.sizeBytes) bytes)"),
            ("written", VolumeTable.size(summary.writtenBytes)), ("unique", VolumeTable.size(summary.uniqueBytes)),
            ("created", summary.created), ("parent", summary.parent ?? "none"), ("state", VolumeTable.state(summary)),
            ("durability", details.durability ?? ""), ("epoch", "\(details.epoch)"),
            ("manifest", "\(details.manifestNumber)"), ("map covers", details.coveredPosition),
            ("map", "\(details.runCount) runs, \(ByteSize.format(details.runBytes)), \(details.extentCount) extents"),
            ("segments", "\(details.segmentCount), \(ByteSize.format(details.storedBytes))"),
            ("snapshots", details.snapshots.joined(separator: ", ")),
            ("branches", details.branches.joined(separator: ", ")),
        ]
        rows.removeAll { $0.1.isEmpty }
        let width = rows.map(\.0.count).max() ?? 0
        return rows.map { $0.0 + String(repeating: " ", count: width - $0.0.count + 2) + $0.1 }
    }
}

enum GarbagePage {
    static func lines(_ report: GCReport) -> [String] {
        func line(_ what: String, _ objects: UInt64, _ bytes: UInt64) -> [String] {
            [what, "\(objects)", ByteSize.format(bytes)]
        }
        var table = TextTable([(report.dryRun ? "DRY RUN" : "", .left), ("OBJECTS", .right), ("BYTES", .right)])
        table.add(line("examined", report.objectsExamined, report.bytesExamined))
        table.add(line("kept", report.objectsKept, report.bytesKept))
        table.add(line("repacked", report.segmentsRepacked, report.bytesRepacked))
        table.add(line("deleted", report.objectsDeleted, report.bytesDeleted))
        var lines = table.lines
        lines.append(
            "in the store: \(ByteSize.format(report.bytesBefore)) before, \(ByteSize.format(report.bytesAfter)) after")
        if report.objectsUnknown > 0 {
            lines.append("\(report.objectsUnknown) objects are not zerofs's and were left alone")
        }
        if report.segmentsUnreadable > 0 {
            lines.append("\(report.segmentsUnreadable) segments could not be read: run `zerofs verify`")
        }
        return lines
    }
}
