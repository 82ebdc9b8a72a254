import Codec
import StoreCore
import Testing

@testable import TLS

@Suite struct FilesOfPreSharedKeys {
    private func parse(_ text: String) throws -> PreSharedKeys {
        try Array(text.utf8).withUnsafeBytes { try PreSharedKeys(parsing: $0, path: "keys.psk") }
    }
    private let digits = "00112233445566778899aAbBcCdDeEfF"

    @Test func areReadAsPsktoolWritesThem() throws {
        let keys = try parse("# two users\ndb1:\(digits)\n\na:b:\(digits)\(digits)\r\n")
        #expect(keys.users == ["a:b", "db1"])
        let key = try #require(keys.key(of: "db1"))
        #expect(
            key.withBytes { Array($0) } == [
                0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
            ])
        #expect(keys.key(of: "a:b")?.count == 32 && keys.key(of: "db2") == nil && keys.key(of: "") == nil)
    }

    @Test(arguments: [
        "", "\n# nothing\n", "db1", ":00112233445566778899aabbccddeeff", "db1:", "db1:0011",
        "db1:zz112233445566778899aabbccddeeff",
        "db1:00112233445566778899aabbccddeef", "a:00112233445566778899aabbccddeeff\na:00112233445566778899aabbccddeeff",
    ]) func thatAreNotGoodAreRefusedWithoutTellingThem(text: String) throws {
        let error = #expect(throws: StorageError.self) { try parse(text) }
        let message = try #require(error).description
        #expect(error?.code == .invalid && !message.contains("0011") && !message.contains("zz1"), "\(message)")
    }
}
