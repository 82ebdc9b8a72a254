import ArgumentParser
import Control
import StoreCore
import Volumes

struct Accept: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve a volume to all clients again after writes may have been lost.",
        discussion: """
            After a crash of the host, or a take-over, every flushed write is there, but
            writes that were answered and not flushed may be gone. Clients that lived on
            with the volume mounted would mix two states of one file system, so those of
            other machines are refused (event writes-lost). Unmount it there, or restart
            these machines; then accept the loss. docs/operations.md tells more.

            EXAMPLES:
              zerofs accept pg-prod
            """)
    @Argument(help: "The volume.")
    var name: String
    @OptionGroup var claim: TakeOverOption
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let report = try await Session(common).run(AcceptLoss(name: name), takeOver: try claim.volume(name))
        if output.json { return print(try ControlJSON.text(report)) }
        print(report.wasLost ? "\(report.name): accepted: \(report.reason ?? "")" : "\(report.name): nothing was lost")
    }
}

struct Journals: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show, or drop, the journals that were left when another host took a volume over.",
        discussion: """
            A server whose volume was taken over by another keeps its journal: it may hold
            the only copy of writes that it had answered. Bring them back as a new volume,
            then drop the journal.

            EXAMPLES:
              zerofs journals
              zerofs branch --from-journal 3f2a91c0 pg-recovered
              zerofs journals drop 3f2a91c0 --force
            """,
        subcommands: [ListOfJournals.self, Drop.self], defaultSubcommand: ListOfJournals.self)

    struct ListOfJournals: AsyncParsableCommand {
        static let configuration = CommandConfiguration(commandName: "list", abstract: "Show them.")
        @OptionGroup var output: JSONOption
        @OptionGroup var common: CommonOptions

        func run() async throws {
            let reports = try await Session(common).run(ListJournals())
            if output.json { return print(try ControlJSON.text(reports)) }
            guard !reports.isEmpty else { return Terminal.printNote("no journals were left over") }
            print(JournalTable.lines(reports).joined(separator: "\n"))
        }
    }

    struct Drop: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Delete one for good.")
        @Argument(help: "Its id, or the beginning of it.")
        var id: String
        @Flag(help: "Do it, although it may hold the only copy of writes that were answered.")
        var force = false
        @OptionGroup var output: JSONOption
        @OptionGroup var common: CommonOptions

        func run() async throws {
            let report = try await Session(common).run(DropJournal(journal: id, force: force))
            print(output.json ? try ControlJSON.text(report) : report.id)
        }
    }
}
