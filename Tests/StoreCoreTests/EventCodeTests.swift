import Foundation
import StoreCore
import Testing

/// Alarms and people go by the codes.
@Suite struct EventCodes {
    @Test func eachOneHasItsRowInOperations() throws {
        let source = URL(filePath: #filePath).resolvingSymlinksInPath()
        let document = source.deletingLastPathComponent().appending(path: "../../docs/operations.md").standardized
        let text = try String(contentsOf: document, encoding: .utf8)
        let rows = text.split(separator: "\n").filter { $0.hasPrefix("| `") }
        for code in EventCode.allCases {
            let row = rows.first { $0.hasPrefix("| `\(code.rawValue)` |") }
            #expect((row?.count { $0 == "|" } ?? 0) == 5, "docs/operations.md tells nothing of \(code.rawValue)")
        }
    }

    @Test func theyAreWordsThatALineCanBeSearchedFor() {
        for code in EventCode.allCases {
            #expect(code.rawValue.allSatisfy { $0.isLowercase || $0 == "-" })
        }
    }

    @Test func aPeerIsLocalOnlyWhereItCannotHaveOutlivedTheMachine() {
        for peer in ["unix", "127.0.0.1:4711", "[::1]:4711", "[::ffff:127.0.0.1]:4711"] {
            #expect(DeviceClient(peer: peer).isLocal)
        }
        for peer in ["10.0.0.9:4711", "[fe80::1]:4711", "stdio", "tcp", "", "1270.0.0.1:1"] {
            #expect(!DeviceClient(peer: peer).isLocal)
        }
    }
}
