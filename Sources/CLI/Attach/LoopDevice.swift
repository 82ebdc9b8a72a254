import Glibc
import Logging
import StoreCore

/// A block device without the kernel's NBD client: nbdfuse shows the export as a file, a loop device makes it a disk.
///
/// nbdfuse gives up when its connection breaks. Between it and the server stands nbdkit's retry filter, where nbdkit is
/// installed: it reconnects and repeats what failed, so that a mounted file system survives a restart of the server.
struct LoopDevice {
    let folder: AttachmentFolder
    let log: Logger

    /// Each try is a second apart.
    private static let retries = 3600
    private static let upDuration = Duration.seconds(20)
    private static let connections = 4

    func attach(_ export: Export, device: String?, _ state: inout AttachmentState) async throws {
        guard access("/dev/fuse", F_OK) == 0 else {
            throw StorageError(
                .unsupported,
                "this kernel has neither nbd nor FUSE (/dev/nbd0, /dev/fuse): modprobe nbd, or modprobe fuse")
        }
        let nbdfuse = try Tool.find("nbdfuse", package: "libnbd-bin")
        _ = try Tool.find("fusermount3", package: "fuse3")
        let losetup = try Tool.find("losetup", package: "mount")
        let uri = try await startRetrying(export, &state)
        try await startFuse(nbdfuse, uri, export, &state)
        try await makeLoop(losetup, export, device, &state)
    }

    /// A mount that no state knows of: its attach was killed, or lost its folder's file.
    func clearStrayMount() async throws { try await unmountFuse() }

    // MARK: Up

    /// Where nbdfuse is to connect.
    private func startRetrying(_ export: Export, _ state: inout AttachmentState) async throws -> String {
        guard let path = Tool.locate("nbdkit") else {
            log.warning("nbdkit is missing (apt-get install nbdkit): without it the device dies with the server")
            return try export.uri()
        }
        let socket = folder.retrySocket
        guard socket.utf8.count <= 107 else {
            log.warning("the path \(socket) is too long for a socket: the device dies with the server")
            return try export.uri()
        }
        unlink(socket)
        let pid = try Tool(path: path).startDetached(try Self.retryArguments(export, socket), log: folder.log)
        state.retryPID = pid
        try folder.save(state)
        try await waitFor("nbdkit", pid) { access(socket, F_OK) == 0 }
        return "nbd+unix:///?socket=\(Export.encode(socket))"
    }

    static func retryArguments(_ export: Export, _ socket: String) throws(StorageError) -> [String] {
        let server =
            switch try export.address() {
            case .unix(let path): ["socket=\(path)"]
            case .tcp(let host, let port): ["hostname=\(host)", "port=\(port)"]
            }
        let security =
            export.key.map { ["tls=require", "tls-psk=\($0.file)", "tls-username=\($0.user)"] } ?? []
        return ["--foreground", "--unix", socket, "--log=stderr"] + (export.isReadOnly ? ["--readonly"] : [])
            + ["--filter=retry", "nbd"] + server + security
            + ["export=\(export.name)", "retries=\(retries)", "retry-delay=1", "retry-exponential=no"]
    }

    private func startFuse(
        _ nbdfuse: Tool, _ uri: String, _ export: Export, _ state: inout AttachmentState
    ) async throws {
        let arguments = ["-C", "\(Self.connections)"] + (export.isReadOnly ? ["-r"] : []) + [folder.disk, uri]
        let pid = try nbdfuse.startDetached(arguments, log: folder.log)
        state.fusePID = pid
        try folder.save(state)
        try await waitFor("nbdfuse", pid) { access(folder.disk, F_OK) == 0 }
    }

    /// Direct I/O: the page cache would hold everything twice. 4 KiB sectors as with the kernel's client, so that a
    /// file system made on one is good on the other.
    private func makeLoop(
        _ losetup: Tool, _ export: Export, _ device: String?, _ state: inout AttachmentState
    ) async throws {
        let options = ["--direct-io=on", "--sector-size", "4096"] + (export.isReadOnly ? ["--read-only"] : [])
        let place = device.map { [$0] } ?? ["--find", "--show"]
        let output = try await losetup.runOrThrow(options + place + [folder.disk], "make a loop device")
        state.device = device ?? String(output.prefix { !$0.isWhitespace })
        try folder.save(state)
        guard DeviceFile.isUp(state.device) else { throw StorageError(.unavailable, "\(state.device) did not come up") }
    }

    private func waitFor(_ name: String, _ pid: Int32, _ condition: () -> Bool) async throws {
        let isUp = try await Helper.wait(Self.upDuration) {
            if condition() { return true }
            guard !Helper.hasEnded(child: pid) else {
                throw StorageError(.unavailable, "\(name) ended: \(folder.lastWords())")
            }
            return false
        }
        guard isUp else { throw StorageError(.unavailable, "\(name) did not come up: \(folder.lastWords())") }
    }

    // MARK: Down

    func detach(_ state: AttachmentState) async throws {
        try await releaseLoop(state)
        try await unmountFuse()
        try await Helper.end(state.fusePID, of: folder, patience: .seconds(10))
        // It does not heed SIGTERM while a client is connected, so it comes last. It holds nothing: what was flushed is
        // in the server.
        try await Helper.end(state.retryPID, of: folder, patience: .milliseconds(500))
    }

    /// The device that the state names, or one that a killed attach made and did not get to name.
    private func releaseLoop(_ state: AttachmentState) async throws {
        let losetup = try Tool.find("losetup", package: "mount")
        let listed = try await losetup.run(["--associated", folder.disk, "--noheadings", "--output", "NAME"]).output
        var devices = Set(listed.split(separator: "\n").map { $0.filter { $0 != " " } })
        if DeviceFile.backingFile(state.device) == folder.disk { devices.insert(state.device) }
        for device in devices.sorted() {
            guard !DeviceFile.isInUse(device) else {
                throw StorageError(.busy, "\(device) is in use: umount it first")
            }
            try await losetup.runOrThrow(["--detach", device], "release \(device)")
            _ = try await Helper.wait(.seconds(10)) { DeviceFile.backingFile(device) != folder.disk }
        }
    }

    private func unmountFuse() async throws {
        guard DeviceFile.isMountPoint(folder.fuse) else { return }
        let fusermount = try Tool.find("fusermount3", package: "fuse3")
        let end = ContinuousClock.now + .seconds(10)
        // A loop device lets go of its file a moment after it was released.
        while true {
            let outcome = try await fusermount.run(["-u", folder.fuse])
            if outcome.isSuccess || !DeviceFile.isMountPoint(folder.fuse) { return }
            guard ContinuousClock.now < end else {
                throw StorageError(.busy, "cannot unmount \(folder.fuse): \(outcome.errors)")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}
