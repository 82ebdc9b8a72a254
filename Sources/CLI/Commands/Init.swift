import ArgumentParser
import Codec
import Control
import Glibc
import Logging
import StoreCore

struct Init: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a store and write a commented zerofs.toml.",
        discussion: """
            EXAMPLES:
              zerofs init --store s3://my-bucket/pg
              zerofs init --store file:///srv/zerofs --config /etc/zerofs/zerofs.toml
              zerofs init --store s3://b/p --endpoint https://minio:9000 --passphrase-file pass.txt

            Without --key-file and --passphrase-file it makes a random key file beside the
            configuration. Whoever loses that file loses the data: keep a copy elsewhere.
            S3 credentials come from AWS_* variables or ~/.aws, or are written into the
            configuration afterwards.
            """)

    @Option(help: ArgumentHelp("Where the data will lie: file:///abs/dir or s3://bucket/prefix.", valueName: "url"))
    var store: String
    @Option(
        help: ArgumentHelp(
            "The configuration file to write (default: $ZEROFS_CONFIG, else ./zerofs.toml).", valueName: "file"))
    var config: String?
    @Option(
        help: ArgumentHelp(
            """
            Journals and caches on this machine (default: /var/lib/zerofs for /etc/zerofs, else zerofs-data beside the \
            configuration).
            """,
            valueName: "dir"))
    var dataDir: String?
    @Option(help: ArgumentHelp("The S3 server, if it is not AWS.", valueName: "url"))
    var endpoint: String?
    @Option(help: ArgumentHelp("The bucket's region.", valueName: "region"))
    var region: String?
    @Option(
        help: ArgumentHelp("A file with a passphrase that opens the store.", valueName: "file"), completion: .file())
    var passphraseFile: String?
    @Option(help: ArgumentHelp("An existing key file that opens the store.", valueName: "file"), completion: .file())
    var keyFile: String?
    @OptionGroup var output: JSONOption

    struct Report: Codable {
        var config: String
        var dataDirectory: String
        var keyFile: String?
        var passphraseFile: String?
        var store: String
    }

    /// An unreachable store should not keep its user waiting.
    private static let retryDeadline = Duration.seconds(10)

    func validate() throws {
        guard passphraseFile == nil || keyFile == nil else {
            throw ValidationError("give --passphrase-file or --key-file, not both")
        }
    }

    func run() async throws {
        let path = try FilePath.absolute(config ?? environment("ZEROFS_CONFIG") ?? "zerofs.toml")
        var plan = try InitPlan(self, configPath: path)
        let log = Logs.start(level: .warning)
        let opened = try await StoreFactory.open(
            plan.configuration.store, createIfMissing: true, deadline: Self.retryDeadline, log: log)
        try await plan.requireEmpty(opened)
        try await plan.carryOut(in: opened, log: log)
        try report(plan)
    }

    private func report(_ plan: InitPlan) throws {
        let keys = plan.configuration.keys
        if plan.newKey != nil, let keyFile = keys.keyFile { Self.warn(keyFile) }
        if output.json {
            return print(
                try ControlJSON.text(
                    Report(
                        config: plan.configPath, dataDirectory: plan.configuration.data.directory,
                        keyFile: keys.keyFile,
                        passphraseFile: keys.passphraseFile, store: plan.configuration.store.url)))
        }
        print("store           \(plan.configuration.store.url)")
        print("configuration   \(plan.configPath)")
        print("data directory  \(plan.configuration.data.directory)")
        if let keyFile = keys.keyFile { print("key file        \(keyFile)") }
        if let passphraseFile = keys.passphraseFile { print("passphrase      \(passphraseFile)") }
    }

    private static func warn(_ keyFile: String) {
        let advice = Terminal.styled("keep a copy of \(keyFile) elsewhere", .bold, isTerminal: Terminal.isErrorTerminal)
        Terminal.printNote("\(advice): who loses it loses all data of this store, nobody can restore it")
    }
}
