import ArgumentParser
import Control
import StoreCore
import TLS
import Volumes

struct Attach: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a served volume or snapshot a block device of this machine.",
        discussion: """
            Uses the kernel's NBD client where the module nbd is there, else nbdfuse and a
            loop device. Prints the device when it is up; a file system on it survives a
            restart of the server. A snapshot is read-only. Wants root, and a running
            `zerofs serve` with the same configuration. What is attached already is
            printed again.

            EXAMPLES:
              device=$(zerofs attach pg-prod)
              mkfs.ext4 "$device" && mount "$device" /var/lib/postgresql
              zerofs attach pg-prod /dev/nbd3
              umount /var/lib/postgresql && zerofs detach pg-prod
            """)
    @Argument(help: "VOLUME or VOLUME@SNAPSHOT.")
    var name: String
    @Argument(help: "The device to use, such as /dev/nbd0 or /dev/loop7 (default: a free one).")
    var device: String?
    @OptionGroup var output: JSONOption
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let session = try Session(common)
        let reference = try VolumeReference(parsing: name)
        let server = try await session.server()
        let attachments = Attachments(dataDirectory: session.configuration.data.directory, log: session.log)
        let details = try await server.client.run(DescribeVolume(name: name), progress: { _ in })
        var export = Export(
            name: details.summary.name, isReadOnly: reference.snapshot != nil, addresses: server.health.nbd)
        if try Self.needsTLS(export, server.health) { export.key = try Self.key(session.configuration) }
        let state = try await attachments.attach(export, device: device)
        print(output.json ? try ControlJSON.text(AttachReport(state)) : state.device)
    }
}

extension Attach {
    private static func needsTLS(_ export: Export, _ health: HealthReport) throws -> Bool {
        switch try export.address() {
        case .unix: health.tlsOnSocket == true
        case .tcp: health.tls == TLSMode.required.rawValue
        }
    }

    /// The first user of the server's own file of pre-shared keys: this is the server's machine, and root.
    private static func key(_ configuration: ZerofsConfiguration) throws(StorageError) -> Export.PreSharedKeyUser {
        guard let file = configuration.tls.pskFile, let user = try TLSSecurity.users(ofFile: file).first else {
            throw StorageError(
                .invalid,
                """
                the server serves nobody without TLS, and attach has no key for it: set nbd.socket and \
                tls.exempt_socket = true, or tls.psk_file
                """)
        }
        return Export.PreSharedKeyUser(user: user, file: file)
    }
}

struct AttachReport: Codable {
    var name: String
    var device: String
    /// `kernel` or `nbdfuse`.
    var method: String
    init(_ state: AttachmentState) {
        name = state.name
        device = state.device
        method = state.method.rawValue
    }
}

struct Detach: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Undo an attach.",
        discussion: """
            Refuses while the device is mounted or otherwise in use. What is written to
            the device is flushed first. What is not attached is fine.

            EXAMPLES:
              umount /var/lib/postgresql && zerofs detach pg-prod
              zerofs detach pg-prod --force        (the server is gone for good)
            """)
    @Argument(help: "VOLUME or VOLUME@SNAPSHOT.")
    var name: String
    @Flag(help: "Detach although writes could not be flushed: they are lost.")
    var force = false
    @OptionGroup var common: CommonOptions

    func run() async throws {
        let session = try Session(common)
        _ = try VolumeReference(parsing: name)
        let attachments = Attachments(dataDirectory: session.configuration.data.directory, log: session.log)
        guard try await attachments.detach(name, force: force) else {
            return Terminal.printNote("'\(name)' is not attached here")
        }
    }
}
