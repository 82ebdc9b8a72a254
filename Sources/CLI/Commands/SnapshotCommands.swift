import ArgumentParser
import Control
import StoreCore
import Volumes

struct Snapshot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Take a crash-consistent snapshot of a volume.",
        discussion: """
            It holds every write that was answered before, takes milliseconds whatever the
            size, and writing goes on meanwhile. Prints VOLUME@SNAPSHOT.

            EXAMPLES:
              zerofs snapshot pg-prod
              zerofs snapshot pg-prod --name before-upgrade
              zerofs branch "$(zerofs snapshot pg-prod)" pg-test
            """)
    @Argument(help: "The volume.")
    var volume: String
    @Option(help: ArgumentHelp("Its name (default: the time in UTC).", valueName: "snapshot"))
    var name: String?
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let report = try await Session(common).run(TakeSnapshot(volume: volume, snapshot: name))
        print(output.json ? try ControlJSON.text(report) : report.name)
    }
}

struct Branch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a writable volume that starts from a snapshot or from a volume's state now.",
        discussion: """
            Takes milliseconds and no space; only what either of the two writes later
            costs. A running server serves it at once.

            The file system on it has the same UUID as its source: to mount both on one
            host, XFS wants `mount -o nouuid` or `xfs_admin -U generate`; ext4 is mounted
            by device, not by UUID. A PostgreSQL on it recovers as from a power cut.

            EXAMPLES:
              zerofs branch pg-prod pg-staging
              zerofs branch pg-prod@monday pg-monday
              zerofs branch --from-journal 3f2a91c0 pg-recovered
            """)
    @Argument(
        help: ArgumentHelp(
            "VOLUME (its state now) or VOLUME@SNAPSHOT, left out with --from-journal; then the new volume's name.",
            valueName: "name"))
    var names: [String]
    @Option(
        help: ArgumentHelp(
            "Bring back what a left-over journal holds, on the state that it goes on from (`zerofs journals`).",
            valueName: "id"))
    var fromJournal: String?
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let session = try Session(common)
        let report: VolumeReport
        if let fromJournal {
            report = try await session.run(BranchFromJournal(journal: fromJournal, newName: names[0]))
        } else {
            report = try await session.run(MakeBranch(source: names[0], newName: names[1]))
        }
        print(output.json ? try ControlJSON.text(report) : report.name)
    }

    func validate() throws {
        guard names.count == (fromJournal == nil ? 2 : 1) else {
            throw ValidationError(
                fromJournal == nil ? "name the source and the new volume" : "name only the new volume")
        }
    }
}

struct Rollback: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Set a volume back to one of its snapshots.",
        discussion: """
            What it replaces is kept: a snapshot of the volume as it was is taken first,
            and named. Unmount and detach the volume before, because its content changes
            under whoever uses it. Wants --force.

            EXAMPLES:
              zerofs rollback pg-prod@monday --force
            """)
    @Argument(help: "VOLUME@SNAPSHOT.")
    var snapshot: String
    @Flag(help: "Do it.")
    var force = false
    @OptionGroup var claim: TakeOverOption
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let report = try await Session(common).run(
            RollBack(snapshot: snapshot, force: force), takeOver: try claim.volume(snapshot))
        if output.json { return print(try ControlJSON.text(report)) }
        print("\(report.name) is \(report.target) again; what it was is \(report.safetySnapshot)")
    }
}

struct Hold: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Protect a volume or a snapshot from deletion.",
        discussion: """
            It cannot be deleted until each of its tags is released.

            EXAMPLES:
              zerofs hold pg-prod@audit-2026 legal
              zerofs release pg-prod@audit-2026 legal
            """)
    @Argument(help: "VOLUME or VOLUME@SNAPSHOT.")
    var name: String
    @Argument(help: "Says who holds it, or why.")
    var tag: String
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let report = try await Session(common).run(HoldVolume(name: name, tag: tag))
        print(output.json ? try ControlJSON.text(report) : "\(report.name) is held: \(report.tag)")
    }
}

struct Release: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Take a hold away.",
        discussion: """
            EXAMPLES:
              zerofs release pg-prod@audit-2026 legal
            """)
    @Argument(help: "VOLUME or VOLUME@SNAPSHOT.")
    var name: String
    @Argument(help: "The hold's tag; `zerofs info NAME` lists them.")
    var tag: String
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let report = try await Session(common).run(ReleaseVolume(name: name, tag: tag))
        print(output.json ? try ControlJSON.text(report) : "\(report.name) is no longer held: \(report.tag)")
    }
}
