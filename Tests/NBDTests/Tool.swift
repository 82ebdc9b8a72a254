import Foundation

/// Real NBD clients, run as processes.
enum Tool {
    struct Missing: Error, CustomStringConvertible {
        var description: String
    }
    struct Output {
        var status: Int32
        var text: String
    }

    /// Runs a program to its end. Standard error is part of the text. The thread that waits is not the caller's.
    static func run(_ name: String, _ arguments: [String], package: String) async throws -> Output {
        let path = ["/usr/bin/", "/usr/local/bin/", "/bin/"].map { $0 + name }.first(
            where: FileManager.default.isExecutableFile)
        guard let path else { throw Missing(description: "\(name) is not installed: apt-get install \(package)") }
        return try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                let process = Process()
                process.executableURL = URL(fileURLWithPath: path)
                process.arguments = arguments
                let pipe = Pipe()
                process.standardOutput = pipe
                process.standardError = pipe
                process.standardInput = FileHandle.nullDevice
                do { try process.run() } catch { return continuation.resume(throwing: error) }
                let data = pipe.fileHandleForReading.readDataToEndOfFile()
                process.waitUntilExit()
                continuation.resume(
                    returning: Output(status: process.terminationStatus, text: String(decoding: data, as: UTF8.self)))
            }
        }
    }

    static func nbdinfo(_ arguments: String...) async throws -> Output {
        try await run("nbdinfo", arguments, package: "libnbd-bin")
    }
    static func nbdcopy(_ arguments: String...) async throws -> Output {
        try await run("nbdcopy", arguments, package: "libnbd-bin")
    }
    static func qemuIO(_ uri: String, _ commands: String...) async throws -> Output {
        try await run("qemu-io", ["-f", "raw", uri] + commands.flatMap { ["-c", $0] }, package: "qemu-utils")
    }
    static func qemuImg(_ arguments: String...) async throws -> Output {
        try await run("qemu-img", arguments, package: "qemu-utils")
    }
    static func fio(_ arguments: String...) async throws -> Output {
        try await run("fio", arguments, package: "fio")
    }
    /// A Python script with libnbd imported as `nbd` and a handle `h`; the URI is in `uri`.
    static func nbdsh(_ uri: String, _ script: String) async throws -> Output {
        try await run(
            "python3", ["-c", "import nbd, errno\nuri = '\(uri)'\nh = nbd.NBD()\n" + script], package: "python3-libnbd")
    }

    /// A file of its own, removed at the end of `body`.
    static func withTemporaryFile<R>(_ body: (String) async throws -> R) async throws -> R {
        let path = NSTemporaryDirectory() + "nbd-\(UUID().uuidString.prefix(8))"
        defer { try? FileManager.default.removeItem(atPath: path) }
        return try await body(path)
    }
}
