import Glibc
import StoreCore
import Testing

/// What `scripts/fuzz` found worth keeping, every input that ever broke something, and mutations of them, without a
/// fuzzer: on any machine, in seconds. A trap ends the process; `lastInput` says which file holds what caused it.
///
/// One that never ends fails by the time limit, which holds for all of them together: they take turns.
@Suite(.timeLimit(.minutes(15))) struct HostileBytesAreRefused {
    /// A harness has one thread, which may wait.
    private static let thread = BlockingPool(name: "fuzz", threads: 1)
    private static let executions = environment("ZEROFS_FUZZ_EXECUTIONS").flatMap { Int($0) } ?? 4000

    /// All, or the one that ZEROFS_FUZZ_HARNESS names.
    private static let names = environment("ZEROFS_FUZZ_HARNESS").map { [$0] } ?? Harness.all.map(\.name)

    @Test(arguments: names) func asBefore(harness name: String) async throws {
        let harness = try #require(Harness.named(name))
        let seeds = try harness.seeds()
        let inputs = seeds + Files.read("corpus/\(name)") + Files.read("regressions/\(name)")
        #expect(!inputs.isEmpty)
        try await Self.onThread {
            let record = LastInput(name)
            let taken = inputs.map { record.run(harness, $0) }
            // One whose good inputs are refused, at a checksum say, tests nothing behind that.
            #expect(taken.prefix(seeds.count).contains(true), "\(name) refuses its own seeds")
            let count = harness.isSlow ? Self.executions / 10 : Self.executions
            var mutator = Mutator(seed: 1, corpus: inputs, words: harness.words)
            for _ in 0..<count { record.run(harness, mutator.next()) }
            record.forget()
        }
    }

    /// Returns when `body` has, or when the time limit is over: a thread cannot be stopped, only left behind.
    private static func onThread(_ body: @escaping @Sendable () throws -> Void) async throws {
        let (ending, continuation) = AsyncThrowingStream<Void, any Error>.makeStream()
        Task {
            do {
                try await thread.run(body)
                continuation.finish()
            } catch { continuation.finish(throwing: error) }
        }
        for try await _ in ending {}
        guard Task.isCancelled else { return }
        throw StorageError(.cancelled, "an input does not come to an end: it is in \(LastInput.path("*"))")
    }

    @Test func everyFolderBelongsToAHarness() {
        let names = Set(Harness.all.map(\.name))
        for folder in ["corpus", "regressions"] {
            #expect(Set(Files.names(folder)).isSubset(of: names), "\(folder)")
        }
        #expect(names.count == Harness.all.count)
    }
}

/// The input that runs, in a file: a trap leaves it behind.
private final class LastInput {
    private let path: String
    private let descriptor: Int32

    init(_ name: String) {
        path = Self.path(name)
        descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    }
    deinit { close(descriptor) }
    static func path(_ name: String) -> String { "/tmp/zerofs-fuzz-\(getpid())-\(name)" }

    @discardableResult
    func run(_ harness: Harness, _ input: [UInt8]) -> Bool {
        pwrite(descriptor, input, input.count, 0)
        ftruncate(descriptor, off_t(input.count))
        return harness.run(input)
    }
    func forget() { unlink(path) }
}

private func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

/// The files beside these tests.
private enum Files {
    private static let root = #filePath.split(separator: "/").dropLast(2).reduce("") { "\($0)/\($1)" }

    static func names(_ folder: String) -> [String] {
        guard let directory = opendir("\(root)/\(folder)") else { return [] }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafeBytes(of: entry.pointee.d_name) {
                String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
            }
            if !name.hasPrefix(".") { names.append(name) }
        }
        return names.sorted()
    }
    static func read(_ folder: String) -> [[UInt8]] {
        names(folder).compactMap { name in
            guard let file = fopen("\(root)/\(folder)/\(name)", "r") else { return nil }
            defer { fclose(file) }
            var bytes = [UInt8](repeating: 0, count: 1 << 20)
            return Array(bytes.prefix(fread(&bytes, 1, bytes.count, file)))
        }
    }
}
