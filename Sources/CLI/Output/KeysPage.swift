import StoreCore
import Volumes

/// Data keys, and what became of old ones.
enum KeysPage {
    static func lines(_ report: KeysReport) -> [String] {
        var table = TextTable([
            ("KEY", .right), ("STATE", .left), ("OBJECTS", .right), ("BYTES", .right), ("FIRST OBJECT", .left),
            ("LAST OBJECT", .left),
        ])
        for key in report.keys {
            table.add([
                "\(key.id)", key.isCurrent ? "current" : key.isHeld ? "older" : "retired",
                key.objects.map { "\($0)" } ?? "-", VolumeTable.size(key.bytes), key.firstObject ?? "-",
                key.lastObject ?? "-",
            ])
        }
        let wrapped = "\(report.unlockedBy) (\(report.derivation)), superblock \(report.superblock)"
        return table.lines + ["", "wrapped by \(wrapped)", "cipher \(report.cipher)", "store \(report.storeID)"]
    }

    static func lines(_ report: RotationReport) -> [String] {
        let older = report.older.isEmpty ? "" : "; readable with older keys: \(list(report.older))"
        return ["new objects are under data key \(report.current)\(older)"] + (report.rewrite.map { lines($0) } ?? [])
    }

    static func lines(_ report: RewriteReport) -> [String] {
        var lines = [
            "rewritten: \(report.segmentsRewritten) segments of \(ByteSize.format(report.bytesRewritten)), "
                + "\(report.mapsRewritten) maps"
        ]
        if !report.retired.isEmpty {
            lines.append("retired: data keys \(list(report.retired))")
            lines.append("what other hosts have left in journals under these does not open any more")
        }
        for rest in report.remaining {
            lines.append("kept: data key \(rest.key), which is still needed for")
            for (kind, count) in rest.perKind.sorted(by: { $0.key < $1.key }) {
                lines.append("  \(count) \(kind)\(rest.examples[kind].map { ", such as \($0)" } ?? "")")
            }
        }
        lines += report.reasons.map { "kept: \($0)" }
        if !report.isFinished { lines.append("when this is mended, run `zerofs keys rewrite` again") }
        return lines
    }
    private static func list(_ ids: [UInt32]) -> String { ids.map { "\($0)" }.joined(separator: ", ") }
}
