import Glibc
import StoreCore

/// Programs of the system.
struct Tool: Sendable {
    let path: String

    /// - Parameter package: Debian's name of what to install where it is missing.
    /// - Throws: `unsupported` with what to install.
    static func find(_ name: String, package: String) throws(StorageError) -> Tool {
        if let path = locate(name) { return Tool(path: path) }
        throw StorageError(.unsupported, "\(name) is missing: apt-get install \(package)")
    }
    /// sbin counts even where PATH lacks it.
    static func locate(_ name: String) -> String? {
        let folders = (environment("PATH") ?? "").split(separator: ":").map(String.init) + ["/usr/sbin", "/sbin"]
        return folders.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }

    struct Outcome: Sendable {
        var status: Int32
        var output: String
        var errors: String
        var isSuccess: Bool { status == 0 }
    }

    private static let threads = BlockingPool(name: "tool", threads: 2)

    /// Runs it to its end, standard input empty.
    func run(_ arguments: [String]) async throws -> Outcome {
        try await Self.threads.run { [path] in
            let output = try TemporaryFile(), errors = try TemporaryFile()
            let pid = try spawn(path, arguments, output: output.descriptor, errors: errors.descriptor, detached: false)
            var status: Int32 = 0
            while waitpid(pid, &status, 0) < 0 {
                guard errno == EINTR else { throw systemError("wait for \(path)") }
            }
            // The low seven bits name a signal; else the exit code is in the next eight.
            let code = status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
            return Outcome(status: code, output: output.text(), errors: errors.text())
        }
    }

    /// Runs it, and throws with its own last words where it fails.
    @discardableResult
    func runOrThrow(_ arguments: [String], _ what: String) async throws -> String {
        let outcome = try await run(arguments)
        guard outcome.isSuccess else {
            let words = outcome.errors.split(separator: "\n").last ?? "exit code \(outcome.status)"
            throw StorageError(.unavailable, "cannot \(what): \(words)")
        }
        return outcome.output
    }

    /// Starts it in a session of its own that outlives this process and holds none of its streams: whoever reads our
    /// output would wait for a daemon otherwise.
    func startDetached(_ arguments: [String], log: String) throws(StorageError) -> pid_t {
        let descriptor = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw systemError("open \(log)") }
        defer { close(descriptor) }
        return try spawn(path, arguments, output: descriptor, errors: descriptor, detached: true)
    }
}

/// POSIX_SPAWN_SETSID, which glibc declares for GNU sources only.
private let spawnInNewSession: Int16 = 0x80

private func spawn(
    _ path: String, _ arguments: [String], output: Int32, errors: Int32, detached: Bool
) throws(StorageError) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
    posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO)

    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // This process ignores SIGPIPE; a program expects to die of it.
    var defaults = sigset_t()
    sigemptyset(&defaults)
    sigaddset(&defaults, SIGPIPE)
    posix_spawnattr_setsigdefault(&attributes, &defaults)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGDEF) | (detached ? spawnInNewSession : 0))

    var words: [UnsafeMutablePointer<CChar>?] = ([path] + arguments).map { strdup($0) }
    defer { for word in words { free(word) } }
    words.append(nil)
    var pid = pid_t()
    let status = posix_spawn(&pid, path, &actions, &attributes, words, environ)
    guard status == 0 else {
        errno = status
        throw systemError("start \(path)")
    }
    return pid
}

/// A file without a name.
private final class TemporaryFile {
    let descriptor: Int32
    private let file: UnsafeMutablePointer<FILE>

    init() throws(StorageError) {
        guard let file = tmpfile() else { throw systemError("make a temporary file") }
        self.file = file
        descriptor = fileno(file)
    }
    deinit { fclose(file) }

    func text() -> String {
        var bytes = [UInt8](repeating: 0, count: 64 << 10)
        let count = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, 0) }
        return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
    }
}
