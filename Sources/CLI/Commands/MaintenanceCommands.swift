import ArgumentParser
import Cleaner
import Control
import StoreCore
import Volumes

struct GarbageCollection: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gc",
        abstract: "Give back the space of what nothing refers to any more.",
        discussion: """
            Deletes objects that no volume, snapshot, branch or retained state needs, and
            repacks segments that are mostly dead. Works while servers run. What it cannot
            read or authenticate stops it before it deletes anything.

            EXAMPLES:
              zerofs gc --dry-run
              zerofs gc --json
            """)
    @Flag(help: "Only say what it would do.")
    var dryRun = false
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let report = try await Session(common).run(CollectGarbage(dryRun: dryRun))
        print(output.json ? try ControlJSON.text(report) : GarbagePage.lines(report).joined(separator: "\n"))
    }
}

struct Verify: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Prove that every reference resolves and every hash and tag is right.",
        discussion: """
            Without --deep it reads maps and metadata, and checks that each object is
            there; with it, it reads and authenticates all data, which costs a GET for
            each segment. Names each damaged object and the blocks that it holds. Exits
            with 7 where something is damaged.

            EXAMPLES:
              zerofs verify
              zerofs verify pg-prod --deep
              zerofs verify --print-witness > /safe/place/witness
              zerofs verify --witness /safe/place/witness
              zerofs verify pg-prod --at-least 17
            """)
    @Argument(help: "VOLUME or VOLUME@SNAPSHOT; everything without it.")
    var name: String?
    @Flag(help: "Read all data.")
    var deep = false
    @Flag(help: "Only print how far the store is, to be kept elsewhere.")
    var printWitness = false
    @Option(
        help: ArgumentHelp("What --print-witness printed: the store must not be older.", valueName: "file"),
        completion: .file())
    var witness: String?
    @Option(help: ArgumentHelp("The volume's epoch must not be lower (`info` shows it).", valueName: "epoch"))
    var atLeast: UInt64?
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let session = try Session(common)
        guard !printWitness else {
            return print(try await session.run(PrintWitness()).witness, terminator: "")
        }
        let seen = try witness.map { path throws(StorageError) in
            String(decoding: try SmallFile.read(path, bytesMax: 15 << 20), as: UTF8.self)
        }
        let report = try await session.run(VerifyStore(name: name, deep: deep, witness: seen, atLeast: atLeast))
        print(output.json ? try ControlJSON.text(report) : VerifyPage.lines(report).joined(separator: "\n"))
        if !report.isSound { throw ExitCode(ExitCodes.corrupt) }
    }
}

struct Stats: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what a running server does.",
        discussion: """
            Operations, bytes and latencies of each volume, requests to the object store,
            cache hits, write buffer, journal and upload lag, since the server started.

            EXAMPLES:
              zerofs stats
              zerofs stats pg-prod --watch
              zerofs stats --json | jq .store.requests
            """)
    @Argument(help: "Only this volume or snapshot.")
    var name: String?
    @Flag(help: "Show it anew every two seconds.")
    var watch = false
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let client = try await Session(common).server().client
        repeat {
            let report = try select(try await client.statistics())
            if output.json {
                print(
                    watch
                        ? String(decoding: try ControlJSON.encode(report), as: UTF8.self) : try ControlJSON.text(report)
                )
            } else {
                let page = StatisticsPage.lines(report).joined(separator: "\n")
                print(watch && Terminal.isOutputTerminal ? "\u{1b}[H\u{1b}[2J\(page)" : page)
            }
            Terminal.flushOutput()
            if watch { try await Task.sleep(for: .seconds(2)) }
        } while watch
    }

    private func select(_ report: StatisticsReport) throws -> StatisticsReport {
        guard let name else { return report }
        var report = report
        report.exports.removeAll { $0.name != name }
        report.engine.volumes.removeAll { $0.name != name }
        guard !report.exports.isEmpty || !report.engine.volumes.isEmpty else {
            throw StorageError(.notFound, "'\(name)' was not used since the server started")
        }
        return report
    }
}
