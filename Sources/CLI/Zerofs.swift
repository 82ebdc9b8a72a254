import ArgumentParser
import Codec
import Glibc
import StoreCore

@main
struct Zerofs: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "zerofs",
        abstract: "PostgreSQL on S3, with branches: block devices whose blocks live, encrypted, in a bucket.",
        discussion: """
            EXAMPLES:
              zerofs init --store s3://my-bucket/pg    a store, zerofs.toml and a key
              zerofs create pg-prod --size 1T          costs nothing until written
              zerofs serve                             all volumes, over NBD
              zerofs attach pg-prod                    a block device on this machine
              zerofs snapshot pg-prod --name monday    milliseconds, whatever its size
              zerofs branch pg-prod@monday pg-staging  a writable clone, as quick
              zerofs list --tree                       what came from what

            Every command knows --help. Those that print data know --json.

            The configuration is the file given by --config, else $ZEROFS_CONFIG,
            ./zerofs.toml, ~/.config/zerofs/zerofs.toml or /etc/zerofs/zerofs.toml.

            EXIT CODES:
              0 done            1 failed          2 wrong usage     3 not found
              4 already exists  5 busy            6 fenced          7 corrupt
            """,
        version: version,
        subcommands: [],
        groupedSubcommands: [
            CommandGroup(name: "The store:", subcommands: [Init.self, GarbageCollection.self, Verify.self, Keys.self]),
            CommandGroup(
                name: "Volumes:",
                subcommands: [Create.self, List.self, Info.self, Rename.self, Resize.self, Delete.self]),
            CommandGroup(
                name: "Snapshots and branches:",
                subcommands: [Snapshot.self, Branch.self, Rollback.self, Hold.self, Release.self]),
            CommandGroup(name: "Serving:", subcommands: [Serve.self, Attach.self, Detach.self, Stats.self]),
            CommandGroup(name: "After a loss:", subcommands: [Accept.self, Journals.self]),
        ])

    static let version = "0.1.0"

    static func main() async {
        // A reader that went away shows as an error of the write.
        signal(SIGPIPE, SIG_IGN)
        // Before any secret is read. A kernel that refuses leaves it to keep them out of dumps page by page.
        _ = SecretMemory.forbidDumps()
        do {
            var command = try parseAsRoot()
            if var command = command as? any AsyncParsableCommand {
                try await command.run()
            } else {
                try command.run()
            }
        } catch {
            leave(for: error)
        }
    }

    /// Prints what an error says, and ends with the code that it stands for.
    private static func leave(for error: any Error) -> Never {
        let code = ExitCodes.code(for: error, usage: exitCode(for: error).rawValue)
        guard !(error is ExitCode) else { Glibc.exit(code) }
        if code == 0 {
            print(fullMessage(for: error))
        } else if let error = error as? StorageError {
            Terminal.printError(error.description)
        } else if error is CancellationError {
            Terminal.printError("stopped")
        } else {
            Terminal.printError("\(message(for: error)) (--help tells more)")
        }
        Glibc.exit(code)
    }
}
