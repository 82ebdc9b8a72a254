import Glibc
import StoreCore
import Testing

/// Whether this machine can make block devices of exports.
private let canAttach = geteuid() == 0 && needed.allSatisfy { access($0, F_OK) == 0 }
private let needed: [String] = [
    "/dev/fuse", "/dev/loop-control", "/usr/bin/nbdfuse", "/usr/bin/nbdkit", "/usr/bin/fusermount3",
    "/usr/sbin/losetup",
]

@Suite(.enabled(if: canAttach, "needs root and FUSE")) struct AttachMakesADevice {
    @Test func itSurvivesAKilledServerAndDetachUndoesItAll() async throws {
        let zerofs = try await ZerofsBinary.withStore()
        #expect(try await zerofs.run("create", "v", "--size", "64M").code == 0)
        var server = try await serve(zerofs)
        let attached = try await zerofs.run("attach", "v")
        try #require(attached.code == 0, "\(attached)")
        let device = String(attached.output.dropLast())
        #expect(device.hasPrefix("/dev/"))
        #expect(try await zerofs.run("attach", "v").output == attached.output)
        #expect(try await zerofs.run("attach", "v", "/dev/loop99").code == 4)

        try await write("before", to: device)
        try await stop(server, SIGKILL)
        server = try await serve(zerofs)
        try await write("behind", to: device)

        let descriptor = open(device, O_RDONLY | O_EXCL)
        let refused = try await zerofs.run("detach", "v")
        #expect(refused.code == 5 && refused.errors.contains("in use"), "\(refused)")
        close(descriptor)
        #expect(try await zerofs.run("detach", "v").code == 0)
        #expect(access("\(zerofs.directory.path)/zerofs-data/attach/v", F_OK) != 0)
        #expect(try await zerofs.run("detach", "v").code == 0)

        #expect(try await zerofs.run("snapshot", "v", "--name", "s").code == 0)
        let snapshot = try await zerofs.run("attach", "v@s", "--json")
        #expect(snapshot.output.contains("\"name\" : \"v@s\""), "\(snapshot)")
        #expect(try await zerofs.run("detach", "v@s").code == 0)
        try await stop(server, SIGTERM)
    }

    @Test func itWantsAServerAndAVolume() async throws {
        let zerofs = try await ZerofsBinary.withStore()
        #expect(try await zerofs.run("attach", "v").code == 1)
        let server = try await serve(zerofs)
        #expect(try await zerofs.run("attach", "v").code == 3)
        try await stop(server, SIGTERM)
    }

    private func serve(_ zerofs: ZerofsBinary) async throws -> Child {
        let server = try zerofs.start(["serve", "--nbd-socket", "\(zerofs.directory.path)/nbd.sock"])
        for _ in 0..<600 where !server.outputSoFar().contains("\n") { try await Task.sleep(for: .milliseconds(50)) }
        return server
    }
    private func stop(_ server: Child, _ signal: Int32) async throws {
        kill(server.pid, signal)
        _ = try await BlockingPool(name: "wait", threads: 1).run { server.wait() }
    }

    /// Written past the page cache's reach, and read back.
    private func write(_ text: String, to device: String) async throws {
        try await BlockingPool(name: "device", threads: 1).run {
            let descriptor = open(device, O_RDWR)
            defer { close(descriptor) }
            let bytes = [UInt8](text.utf8) + [UInt8](repeating: 0, count: 4096 - text.utf8.count)
            #expect(pwrite(descriptor, bytes, bytes.count, 8192) == bytes.count)
            #expect(fsync(descriptor) == 0)
            var back = [UInt8](repeating: 0, count: 4096)
            #expect(pread(descriptor, &back, back.count, 8192) == back.count)
            #expect(back == bytes)
        }
    }
}
