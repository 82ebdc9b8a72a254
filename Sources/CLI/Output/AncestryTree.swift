import StoreCore
import Volumes

/// Draws what came from what: snapshots below their volume, branches below what they were taken from.
enum AncestryTree {
    static func lines(_ reports: [VolumeReport]) -> [String] {
        let names = Set(reports.map(\.name))
        let children = Dictionary(grouping: reports.filter { names.contains($0.parent ?? "") }, by: { $0.parent ?? "" })
        var (lines, drawn) = ([String](), Set<String>())
        for root in reports where !names.contains(root.parent ?? "") {
            draw(root, below: children, head: "", tail: "", drawn: &drawn, into: &lines)
        }
        // What a damaged lineage ties into a circle still exists.
        for report in reports where !drawn.contains(report.name) {
            draw(report, below: children, head: "", tail: "", drawn: &drawn, into: &lines)
        }
        return lines
    }

    private static func draw(
        _ report: VolumeReport, below children: [String: [VolumeReport]], head: String, tail: String,
        drawn: inout Set<String>, into lines: inout [String]
    ) {
        guard drawn.insert(report.name).inserted else { return }
        lines.append(head + label(report, isRoot: head.isEmpty))
        let inner = (children[report.name] ?? []).sorted { ($0.created, $0.name) < ($1.created, $1.name) }
        for (index, child) in inner.enumerated() {
            let isLast = index == inner.count - 1
            draw(
                child, below: children, head: tail + (isLast ? "└─ " : "├─ "), tail: tail + (isLast ? "   " : "│  "),
                drawn: &drawn, into: &lines)
        }
    }

    private static func label(_ report: VolumeReport, isRoot: Bool) -> String {
        var parts = [ByteSize.format(report.sizeBytes)]
        if report.kind == .snapshot { parts.append("snapshot \(report.created)") }
        if isRoot, let parent = report.parent { parts.append("from \(parent), which is gone") }
        if let written = report.writtenBytes { parts.append("\(ByteSize.format(written)) written") }
        if let count = report.attachedCount, count > 0 { parts.append("attached") }
        if !report.holds.isEmpty { parts.append("held: \(report.holds.joined(separator: ", "))") }
        return "\(report.name)  (\(parts.joined(separator: ", ")))"
    }
}
