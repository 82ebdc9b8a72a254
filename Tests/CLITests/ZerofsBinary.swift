import Glibc
import StoreCore

/// A directory that goes with the test.
final class TemporaryDirectory: Sendable {
    let path: String
    init() {
        var template = Array("/tmp/zerofs-cli-XXXXXX".utf8CString)
        precondition(mkdtemp(&template) != nil, "a temporary directory can be made")
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
    deinit { Self.remove(path) }

    private static func remove(_ path: String) {
        guard let directory = opendir(path) else {
            unlink(path)
            return
        }
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if name != ".", name != ".." { remove("\(path)/\(name)") }
        }
        closedir(directory)
        rmdir(path)
    }
}

/// The program as it was built, run as a person runs it.
struct ZerofsBinary: Sendable {
    struct Ending: Sendable, CustomStringConvertible {
        var code: Int32
        var output: String
        var errors: String
        var description: String { "exit code \(code), output '\(output)', errors '\(errors)'" }
    }

    let directory = TemporaryDirectory()
    var config: String { "\(directory.path)/zerofs.toml" }

    /// It lies beside the tests.
    private static let path: String = {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let tests = String(decoding: buffer.prefix(max(count, 0)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return tests.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" } + "/zerofs"
    }()

    /// A directory store, made by `init`.
    static func withStore() async throws -> ZerofsBinary {
        let binary = ZerofsBinary()
        let ending = try await binary.run(
            "init", "--store", "file://\(binary.directory.path)/store", "--config", binary.config)
        guard ending.code == 0 else { throw StorageError(.invalid, "init: \(ending)") }
        return binary
    }

    private static let threads = BlockingPool(name: "binary", threads: 4)

    /// Runs it to its end, in the temporary directory, with a home and an environment of its own.
    func run(_ arguments: String...) async throws -> Ending { try await run(arguments) }
    func run(_ arguments: [String], environment extra: [String] = []) async throws -> Ending {
        let child = try start(arguments, environment: extra)
        return try await Self.threads.run { child.wait() }
    }

    func start(_ arguments: [String], environment extra: [String] = []) throws -> Child {
        let environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=\(directory.path)"] + extra
        return try Child(Self.path, arguments, in: directory.path, environment)
    }
}

/// A running program whose streams go to files.
final class Child: Sendable {
    let pid: pid_t
    private let output: String
    private let errors: String

    init(_ path: String, _ arguments: [String], in directory: String, _ environment: [String]) throws {
        let number = UInt64.random(in: .min ... .max)
        output = "\(directory)/out-\(number)"
        errors = "\(directory)/err-\(number)"
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, errors, O_WRONLY | O_CREAT, 0o600)
        // `env -C` changes the directory, which posix_spawn of older libraries cannot.
        let words = ["/usr/bin/env", "-C", directory, path] + arguments
        var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
        defer { for pointer in pointers + variables { free(pointer) } }
        var pid = pid_t()
        let status = posix_spawn(&pid, "/usr/bin/env", &actions, nil, &pointers, &variables)
        guard status == 0 else { throw StorageError(.unavailable, "cannot start \(path): \(status)") }
        self.pid = pid
    }

    /// Blocks until it has ended.
    func wait() -> ZerofsBinary.Ending {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        let code = status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
        return ZerofsBinary.Ending(code: code, output: outputSoFar(), errors: text(errors))
    }
    func outputSoFar() -> String { text(output) }

    private func text(_ path: String) -> String {
        guard let file = fopen(path, "r") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 1 << 20)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}
