import Cleaner
@testable import CLI
import Control
import StoreCore
import Synchronization
import Testing
import Volumes

func report(_ name: String, parent: String? = nil, created: String = "2026-01-01T00:00:00Z") throws -> VolumeReport {
    let kind = name.contains("@") ? "snapshot" : parent == nil ? "volume" : "branch"
    let parent = parent.map { ",\"parent\":\"\($0)\"" } ?? ""
    let json = """
        {"name":"\(name)","kind":"\(kind)","id":"00","sizeBytes":1073741824,"writtenBytes":1048576,"uniqueBytes":4096,
         "created":"\(created)","holds":[]\(parent)}
        """
    return try ControlJSON.decode(from: Array(json.utf8))
}

@Suite struct TheTreeShowsAncestry {
    @Test func branchesHangBelowWhatTheyWereTakenFrom() throws {
        let lines = AncestryTree.lines([
            try report("pg-dev", parent: "pg-prod"), try report("pg-prod"),
            try report("pg-prod@monday", parent: "pg-prod", created: "2026-01-02T00:00:00Z"),
            try report("pg-prod@tuesday", parent: "pg-prod", created: "2026-01-03T00:00:00Z"),
            try report("pg-staging", parent: "pg-prod@monday"),
            try report("pg-staging@s", parent: "pg-staging"), try report("zz"),
        ])
        #expect(
            lines.map { String($0.prefix { $0 != "(" }.reversed().drop { $0 == " " }.reversed()) } == [
                "pg-prod",
                "├─ pg-dev",
                "├─ pg-prod@monday",
                "│  └─ pg-staging",
                "│     └─ pg-staging@s",
                "└─ pg-prod@tuesday",
                "zz",
            ])
    }

    @Test func aBranchWhoseParentIsGoneIsARoot() throws {
        let lines = AncestryTree.lines([try report("orphan", parent: "old@monday")])
        #expect(lines == ["orphan  (1G, from old@monday, which is gone, 1M written)"])
    }

    @Test func aCircleIsDrawnOnceAndEnds() throws {
        let lines = AncestryTree.lines([try report("a", parent: "b"), try report("b", parent: "a")])
        #expect(lines.count == 2)
    }
}

@Suite struct TablesLineUp {
    @Test func columnsHaveTheirWidth() {
        var table = TextTable([("NAME", .left), ("SIZE", .right), ("LAST", .left)])
        table.add(["a", "1G", "x"])
        table.add(["longer", "512M", ""])
        #expect(table.lines == ["NAME    SIZE  LAST", "a         1G  x", "longer  512M"])
    }

    @Test func volumesAreListed() throws {
        let lines = VolumeTable.lines([try report("pg-prod"), try report("pg-prod@monday", parent: "pg-prod")])
        #expect(lines[0].hasPrefix("NAME            KIND      SIZE  WRITTEN  UNIQUE  CREATED"))
        #expect(lines[2] == "pg-prod@monday  snapshot    1G       1M      4K  2026-01-01T00:00:00Z  pg-prod")
    }

    /// What the store lacks is unknown where the journal's place in the volume's history is gone.
    @Test func leftOverJournalsSayWhatTheStoreLacks() {
        func journal(_ volume: String?, _ missing: UInt64?, isComplete: Bool) -> JournalReport {
            JournalReport(
                id: "3f2a91c04711", volume: volume, volumeID: "00", epoch: 1, created: "2026-01-01T00:00:00Z",
                owner: volume.map { _ in "db2" }, writes: 3, bytes: 12288, writesMissing: missing,
                bytesMissing: missing.map { $0 * 4096 }, isComplete: isComplete, diskBytes: 1 << 20)
        }
        let lines = JournalTable.lines([journal("pg-prod", 2, isComplete: true), journal(nil, nil, isComplete: false)])
        #expect(
            lines.map { $0.split(separator: " ").dropFirst().joined(separator: " ") } == [
                "VOLUME CREATED WRITES WRITES MISSING BYTES BYTES MISSING COMPLETE OPEN ON",
                "pg-prod 2026-01-01T00:00:00Z 3 2 12K 8K yes db2",
                "(deleted) 2026-01-01T00:00:00Z 3 ? 12K ? no",
            ])
    }

    @Test func damageIsNamedWithItsBlocks() {
        var report = VerifyReport(deep: true)
        report.objectsChecked = 3
        var damage = VerifyReport.Damage(object: "volumes/x/log/1/2", problem: "a wrong tag")
        var affected = VerifyReport.Affected(name: "pg-prod")
        affected.ranges = [.init(firstByte: 8192, byteCount: 4096)]
        damage.affected = [affected, VerifyReport.Affected(name: "pg-prod@s")]
        report.damaged = [damage]
        #expect(
            VerifyPage.lines(report) == [
                "volumes/x/log/1/2: a wrong tag", "  pg-prod: blocks 2..<3 (bytes 8192..<12288)",
                "  pg-prod@s refers to it", "3 objects, 0 checked (all data read): 1 damaged",
            ])
    }
}

@Suite struct ProgressIsShownWhenItTakesLong {
    private func shown(isTerminal: Bool, after delay: Duration) -> [String] {
        let output = Mutex<[String]>([])
        let display = ProgressDisplay("gc", isTerminal: isTerminal, after: delay) { text in
            output.withLock { $0.append(text) }
        }
        display.show(ProgressReport(phase: "listing", done: 2, total: 4))
        display.show(ProgressReport(phase: "listing", done: 3, total: 4))
        display.finish()
        display.show(ProgressReport(phase: "late", done: 3, total: 4))
        return output.withLock { $0 }
    }

    @Test func shortCommandsShowNothing() {
        #expect(shown(isTerminal: true, after: .seconds(1000)).isEmpty)
        #expect(shown(isTerminal: false, after: .seconds(1000)).isEmpty)
    }
    @Test func longOnesShowABarOnATerminalAndTakeItAway() {
        let output = shown(isTerminal: true, after: .zero)
        #expect(output.count >= 2)
        #expect(output[0].contains("[") && output[0].contains("50 %"))
        #expect(output.last == "\r\u{1b}[K")
    }
    @Test func longOnesWritePlainLinesElsewhere() {
        #expect(shown(isTerminal: false, after: .zero).first == "zerofs: gc: listing, 2 of 4 (50 %)\n")
    }
    @Test func barsFitTheirWidth() {
        let report = ProgressReport(phase: "copying", done: 3, total: 4)
        for width in [10, 30, 60, 200] { #expect(ProgressBar.text("gc", report, width: width).count <= width) }
        #expect(ProgressBar.text("gc", ProgressReport(phase: "listing", done: 9), width: 80) == "gc: listing, 9")
    }
}
