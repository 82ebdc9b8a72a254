import ArgumentParser
import Control
import StoreCore
import Volumes

struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a volume.",
        discussion: """
            A volume is thin: it costs nothing until it is written to, so make it as large
            as it may ever become.

            EXAMPLES:
              zerofs create pg-prod --size 1T
              zerofs create scratch --size 512M --json
            """)
    @Argument(help: "Letters, digits and . _ - : +, beginning with a letter or digit.")
    var name: String
    @Option(help: ArgumentHelp("Up to 1P; a multiple of 4K.", valueName: "size"), transform: SizeArgument.parse)
    var size: UInt64
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let report = try await Session(common).run(CreateVolume(name: name, sizeBytes: size))
        print(output.json ? try ControlJSON.text(report) : report.name)
    }
}

struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show volumes, snapshots and branches.",
        discussion: """
            WRITTEN is the data that one refers to, UNIQUE what deleting it would give
            back.

            EXAMPLES:
              zerofs list
              zerofs list --tree
              zerofs list --json | jq -r '.[] | select(.kind == "snapshot") | .name'
            """)
    @Flag(help: "Draw what came from what.")
    var tree = false
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let reports = try await Session(common).run(ListVolumes())
        if output.json { return print(try ControlJSON.text(reports)) }
        guard !reports.isEmpty else {
            return Terminal.printNote("no volumes yet: make one with `zerofs create NAME --size SIZE`")
        }
        let lines = tree ? AncestryTree.lines(reports) : VolumeTable.lines(reports)
        print(lines.joined(separator: "\n"))
    }
}

struct Info: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show everything about a volume or a snapshot.",
        discussion: """
            EXAMPLES:
              zerofs info pg-prod
              zerofs info pg-prod@monday --json
            """)
    @Argument(help: "VOLUME or VOLUME@SNAPSHOT.")
    var name: String
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let details = try await Session(common).run(DescribeVolume(name: name))
        print(output.json ? try ControlJSON.text(details) : InfoPage.lines(details).joined(separator: "\n"))
    }
}

struct Rename: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Give a volume or a snapshot another name.",
        discussion: """
            Clients that are connected stay connected; new ones use the new name.

            EXAMPLES:
              zerofs rename pg-staging pg-test
              zerofs rename pg-prod@monday pg-prod@release-7
            """)
    @Argument(help: "VOLUME or VOLUME@SNAPSHOT.")
    var old: String
    @Argument(help: "The new name.")
    var new: String
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let report = try await Session(common).run(RenameVolume(name: old, newName: new))
        print(output.json ? try ControlJSON.text(report) : report.name)
    }
}

struct Resize: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Change a volume's size.",
        discussion: """
            Growing is free. Clients see the new size when they connect again; then grow
            the file system (resize2fs, xfs_growfs). Shrinking cuts off what lies beyond,
            and wants --force: shrink the file system first.

            EXAMPLES:
              zerofs resize pg-prod 2T
              zerofs resize scratch 256M --force
            """)
    @Argument(help: "The volume.")
    var name: String
    @Argument(help: "The new size; a multiple of 4K.", transform: SizeArgument.parse)
    var size: UInt64
    @Flag(help: "Allow shrinking, which discards data.")
    var force = false
    @OptionGroup var claim: TakeOverOption
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let report = try await Session(common).run(
            ResizeVolume(name: name, sizeBytes: size, force: force), takeOver: try claim.volume(name))
        print(output.json ? try ControlJSON.text(report) : "\(report.name) \(ByteSize.format(report.sizeBytes))")
    }
}

struct Delete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Delete a volume or a snapshot.",
        discussion: """
            Refuses what is attached or held, and a volume that has snapshots unless
            --force deletes them with it. Branches do not block it: they live on. The
            space comes back with `zerofs gc`.

            EXAMPLES:
              zerofs delete pg-staging
              zerofs delete pg-prod@monday
              zerofs delete pg-old --force
            """)
    @Argument(help: "VOLUME or VOLUME@SNAPSHOT.")
    var name: String
    @Flag(help: "Delete a volume's snapshots with it.")
    var force = false
    @OptionGroup var claim: TakeOverOption
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let report = try await Session(common).run(
            DeleteVolume(name: name, force: force), takeOver: try claim.volume(name))
        print(output.json ? try ControlJSON.text(report) : report.names.joined(separator: "\n"))
    }
}
