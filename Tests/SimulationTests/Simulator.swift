import Glibc
import StoreCore

/// zerofs-sim as it was built: the release build where there is one, for speed; else the one beside the tests.
enum Simulator {
    struct Ending: Sendable {
        var code: Int32
        var output: String
    }
    private static let threads = BlockingPool(name: "simulator", threads: 2)

    private static let path: String = {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let tests = String(decoding: buffer.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let folder = tests.split(separator: "/").dropLast()
        let beside = folder.reduce("") { "\($0)/\($1)" } + "/zerofs-sim"
        let release = folder.dropLast().reduce("") { "\($0)/\($1)" } + "/release/zerofs-sim"
        return access(release, X_OK) == 0 ? release : beside
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
            return Ending(code: status >> 8 & 0xff, output: String(decoding: output, as: UTF8.self))
        }
    }
}
