import Glibc
import StoreCore

/// zerofs-sim: the one that was built beside the tests, or the one that ZEROFS_SIM names. A release build is several
/// times as fast, but only who has just built it knows that it is not an old one.
enum Simulator {
    struct Ending: Sendable {
        var code: Int32
        var output: String
    }
    private static let threads = BlockingPool(name: "simulator", threads: 2)

    private static let path: String = {
        if let named = getenv("ZEROFS_SIM") { return String(cString: named) }
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let tests = String(decoding: buffer.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return tests.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/zerofs-sim"
    }()

    /// Runs it to its end.
    static func run(_ arguments: String...) async throws -> Ending {
        try await threads.run {
            // The arguments are ours, and the path has no quote: a shell is the shortest way to its output.
            let command = (["'\(path)'"] + arguments).joined(separator: " ") + " 2>&1"
            guard let pipe = popen(command, "r") else { throw StorageError(.unavailable, "cannot start \(path)") }
            var output: [UInt8] = []
            var part = [UInt8](repeating: 0, count: 64 << 10)
            while true {
                let count = fread(&part, 1, part.count, pipe)
                guard count > 0 else { break }
                output += part[..<count]
            }
            let status = pclose(pipe)
            let signal = status & 0x7f
            return Ending(
                code: signal == 0 ? status >> 8 & 0xff : 128 + signal, output: String(decoding: output, as: UTF8.self))
        }
    }
}
