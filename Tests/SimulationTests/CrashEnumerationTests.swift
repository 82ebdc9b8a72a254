import Glibc
import Testing

/// Each workload recorded, and crashes all over it recovered and checked: `zerofs-sim --enumerate` in its short form. A
/// program of its own, because a simulation takes the whole process. All of them: `zerofs-sim --enumerate --all`.
@Suite(.serialized) struct EveryCrashIsRecovered {
    @Test(.timeLimit(.minutes(5)))
    func someOfEachWorkload() throws {
        let (code, output) = try Self.enumerate("--recoveries 30")
        #expect(code == 0, "\(output)")
        #expect(output.contains("all sound"), "\(output)")
    }

    /// The program lies beside the tests.
    private static func enumerate(_ arguments: String) throws -> (code: Int32, output: String) {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let tests = String(decoding: buffer.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let folder = tests.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" }
        let pipe = try #require(popen("'\(folder)/zerofs-sim' --enumerate \(arguments) 2>&1", "r"))
        var output: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 4096)
        while case let read = fread(&part, 1, part.count, pipe), read > 0 { output += part.prefix(read) }
        let status = pclose(pipe)
        return (status >> 8 & 0xff, String(decoding: output, as: UTF8.self))
    }
}
