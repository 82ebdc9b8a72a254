import ArgumentParser
import Codec
import Control
import Logging
import StoreCore
import Volumes

struct Keys: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "The keys of the store: list, change the passphrase, rotate.",
        subcommands: [ListOfKeys.self, ChangePassphrase.self, Rotate.self, Rewrite.self])
}

extension Keys {
    struct ListOfKeys: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list",
            abstract: "Show the data keys, and what lies under each.",
            discussion: """
                Reads the header of every object, a small GET each.

                EXAMPLES:
                  zerofs keys list
                  zerofs keys list --quick --json
                """)
        @Flag(help: "Do not look what lies under each key.")
        var quick = false
        @OptionGroup var output: JSONOption
        @OptionGroup var common: CommonOptions

        func run() async throws {
            let report = try await Session(common).run(ListKeys(counting: !quick))
            print(output.json ? try ControlJSON.text(report) : KeysPage.lines(report).joined(separator: "\n"))
        }
    }

    struct Rotate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a new data key for everything that is written from now on.",
            discussion: """
                The server of this data directory uses it at once, others as soon as they meet
                it. What is under older keys stays readable. With --rewrite that is moved to
                the new key as well, and the older keys are retired when nothing is left under
                them: see `zerofs keys rewrite`.

                EXAMPLES:
                  zerofs keys rotate
                  zerofs keys rotate --rewrite --json
                """)
        @Flag(help: "Move everything to the new key, and retire the older ones.")
        var rewrite = false
        @OptionGroup var output: JSONOption
        @OptionGroup var common: CommonOptions

        func run() async throws {
            let report = try await Session(common).run(RotateKeys(rewrite: rewrite))
            print(output.json ? try ControlJSON.text(report) : KeysPage.lines(report).joined(separator: "\n"))
            if report.rewrite.map({ !$0.isFinished }) ?? false { throw ExitCode(ExitCodes.busy) }
        }
    }

    struct Rewrite: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Move everything to the current data key and retire the older ones.",
            discussion: """
                Reads and writes again what is under older keys: data, maps, snapshots and the
                catalog. May be stopped and run again. An older key is retired only when nothing
                is left under it, the store reads as sound without it, and no volume is open that
                was opened before the rotation; until then it says what is left and why, and exits
                with 5. Let no gc of another host run meanwhile.

                Journals that are left over on other hosts cannot be seen from here, and do not
                open once their key is retired: see before that `zerofs journals` shows none
                on any host.

                EXAMPLES:
                  zerofs keys rewrite
                """)
        @OptionGroup var output: JSONOption
        @OptionGroup var common: CommonOptions

        func run() async throws {
            let report = try await Session(common).run(RewriteKeys())
            print(output.json ? try ControlJSON.text(report) : KeysPage.lines(report).joined(separator: "\n"))
            if !report.isFinished { throw ExitCode(ExitCodes.busy) }
        }
    }

    struct ChangePassphrase: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "passphrase",
            abstract: "Change the passphrase or key file that opens the store.",
            discussion: """
                Wraps the data keys anew and deletes the superblocks that the old passphrase
                opens. Data is not touched, and servers go on. A bucket that keeps old versions
                of objects keeps the old superblock: delete its versions, or the old passphrase
                still opens the store for whoever can read them. Asks on the terminal where no
                file is named.

                EXAMPLES:
                  zerofs keys passphrase --new-passphrase-file /etc/zerofs/new
                  zerofs keys passphrase --new-key-file /etc/zerofs/new.key
                """)
        @Option(help: ArgumentHelp("A file with the new passphrase.", valueName: "file"), completion: .file())
        var newPassphraseFile: String?
        @Option(help: ArgumentHelp("The new key file.", valueName: "file"), completion: .file())
        var newKeyFile: String?
        @OptionGroup var output: JSONOption
        @OptionGroup var common: CommonOptions

        struct Report: Codable {
            /// Number of the superblock in force.
            var superblock: UInt64
            /// `passphrase` or `key-file`.
            var unlockedBy: String
            /// An earlier run had done it.
            var wasDone: Bool
        }

        func validate() throws {
            guard newPassphraseFile == nil || newKeyFile == nil else {
                throw ValidationError("give --new-passphrase-file or --new-key-file, not both")
            }
        }

        func run() async throws {
            let configuration = try common.load()
            let log = Logs.start(level: common.logLevel?.level ?? max(configuration.logLevel, .warning))
            let old = try Unlocking.read(configuration.keys, log: log)
            var keys = ZerofsConfiguration.Keys()
            keys.keyFile = try newKeyFile.map(FilePath.absolute)
            keys.passphraseFile = try newPassphraseFile.map(FilePath.absolute)
            let isTyped = keys.keyFile == nil && keys.passphraseFile == nil
            let new = isTyped ? try TypedPassphrase.ask() : try Unlocking.read(keys, log: log)
            guard !new.isSame(as: old) else {
                throw StorageError(.invalid, "the new \(new) is the one that is in use")
            }
            let opened = try await StoreFactory.open(
                configuration.store, deadline: configuration.store.retryDeadline, log: log)
            let (number, wasDone) = try await Engine.changeUnlock(
                of: opened.store, from: old, to: new, dataDirectory: configuration.data.directory)
            let setting = keys.keyFile != nil ? "key_file" : "passphrase_file"
            let path = keys.keyFile ?? keys.passphraseFile
            if output.json {
                print(
                    try ControlJSON.text(
                        Report(
                            superblock: number, unlockedBy: keys.keyFile != nil ? "key-file" : "passphrase",
                            wasDone: wasDone)))
            } else {
                print("the store opens with the new \(new) alone (superblock \(number))")
            }
            let file = path.map { "\"\($0)\"" } ?? "a file with the new passphrase"
            Terminal.printNote(
                "now set keys.\(setting) = \(file) in the configuration of every host, and remove the old one")
        }
    }
}
