import Cleaner
import Control
import Glibc
import StoreCore
import Synchronization
import Testing
import Volumes

@Suite struct CommandsReachTheStore {
    @Test func eachCommandArrivesWithItsParameters() async throws {
        try await TestServer.run { test, client, _ in
            _ = try await client.run(CreateVolume(name: "pg-prod", sizeBytes: 1 << 40), progress: { _ in })
            _ = try await client.run(TakeSnapshot(volume: "pg-prod", snapshot: nil), progress: { _ in })
            _ = try await client.run(MakeBranch(source: "pg-prod@monday", newName: "b"), progress: { _ in })
            _ = try await client.run(RenameVolume(name: "a", newName: "b"), progress: { _ in })
            _ = try await client.run(ResizeVolume(name: "a", sizeBytes: 4096, force: true), progress: { _ in })
            _ = try await client.run(RollBack(snapshot: "a@b", force: true), progress: { _ in })
            _ = try await client.run(DeleteVolume(name: "a@b", force: false), progress: { _ in })
            _ = try await client.run(HoldVolume(name: "a", tag: "t"), progress: { _ in })
            _ = try await client.run(ReleaseVolume(name: "a", tag: "t"), progress: { _ in })
            #expect(
                test.store.calls == [
                    "create pg-prod 1099511627776", "snapshot pg-prod -", "branch pg-prod@monday b", "rename a b",
                    "resize a 4096 true", "rollback a@b true", "delete a@b false", "hold a t", "release a t",
                ])
        }
    }

    @Test func aResultComesBackWhole() async throws {
        try await TestServer.run { _, client, _ in
            let reports = try await client.run(ListVolumes(), progress: { _ in })
            #expect(reports.map(\.name) == ["pg-prod", "pg-prod@monday"])
            #expect(reports[1].kind == .snapshot)
            #expect(reports[1].parent == "pg-prod")
        }
    }

    @Test(arguments: ErrorCode.allCases)
    func anErrorKeepsItsCodeAndItsLine(code: ErrorCode) async throws {
        try await TestServer.run { test, client, _ in
            test.store.fail(with: StorageError(code, "what happened"))
            let error = await #expect(throws: StorageError.self) {
                try await client.run(ListVolumes(), progress: { _ in })
            }
            #expect(error?.code == code)
            #expect(error?.message == "what happened")
        }
    }

    @Test func badNamesAreRefusedBeforeTheStoreIsAsked() async throws {
        try await TestServer.run { test, client, _ in
            for name in ["", "a b", "-a", "a@b"] {
                let error = await #expect(throws: StorageError.self) {
                    try await client.run(CreateVolume(name: name, sizeBytes: 4096), progress: { _ in })
                }
                #expect(error?.code == .invalid)
            }
            let error = await #expect(throws: StorageError.self) {
                try await client.run(RollBack(snapshot: "volume", force: true), progress: { _ in })
            }
            #expect(error?.code == .invalid)
            #expect(test.store.calls.isEmpty)
        }
    }
}

@Suite struct LongCommandsStream {
    @Test func progressArrivesWhileTheCommandRuns() async throws {
        try await TestServer.run { test, client, _ in
            test.store.gate.close()
            let phases = Mutex<[String]>([])
            let report = try await client.run(CollectGarbage(dryRun: true)) { report in
                phases.withLock { $0.append(report.phase) }
                // The command waits for this: were progress held back, the test would hang.
                test.store.gate.open()
            }
            #expect(phases.withLock { $0 } == ["listing", "deleting"])
            #expect(report.objectsExamined == 7)
            #expect(report.dryRun)
        }
    }

    @Test func anErrorAfterTheBeginningIsAnError() async throws {
        try await TestServer.run { test, client, _ in
            let error = await #expect(throws: StorageError.self) {
                try await client.run(VerifyStore(name: "pg-prod", deep: true), progress: { _ in })
            }
            #expect(error?.code == .corrupt)
            #expect(test.store.calls == ["verify pg-prod true"])
        }
    }

    @Test func manyAtOnceDoNotMix() async throws {
        try await TestServer.run { test, _, path in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<20 {
                    group.addTask {
                        let client = ControlClient(path: path)
                        let report = try await client.run(
                            CreateVolume(name: "v\(number)", sizeBytes: 4096), progress: { _ in })
                        #expect(report.name == "v\(number)")
                    }
                }
                try await group.waitForAll()
            }
            #expect(test.store.calls.count == 20)
        }
    }
}

@Suite struct TheSocketIsPrivateAndFound {
    @Test func onlyTheOwnerMayConnect() async throws {
        // The widest umask there is must not matter.
        let before = umask(0)
        defer { umask(before) }
        try await TestServer.run { _, _, path in
            var status = stat()
            #expect(stat(path, &status) == 0)
            #expect(status.st_mode & 0o777 == 0o600)
            #expect(status.st_mode & S_IFMT == S_IFSOCK)
        }
    }

    @Test func itGoesWithTheServerAndNothingElseStays() async throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/control.sock"
        let test = TestServer()
        _ = try await test.server.start(on: .unix(path: path))
        #expect(try await ControlClient(path: path).health()?.pid == 42)
        await test.server.stop()
        #expect(access(path, F_OK) != 0)
        #expect(rmdir(directory.path) == 0, "the directory is empty")
    }

    @Test func aStaleSocketIsReplaced() async throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/control.sock"
        try makeStaleSocket(path)
        #expect(try await ControlClient(path: path).health() == nil)
        try await TestServer.run(path: path) { _, client, _ in
            let health = try await client.health()
            #expect(health?.status == .ok)
        }
    }

    @Test func aLivingServerKeepsItsSocket() async throws {
        try await TestServer.run { _, client, path in
            let error = await #expect(throws: StorageError.self) {
                _ = try await TestServer().server.start(on: .unix(path: path))
            }
            #expect(error?.code == .busy)
            let health = try await client.health()
            #expect(health != nil)
        }
    }

    @Test func nobodyThereIsNoError() async throws {
        #expect(try await ControlClient(path: "/nowhere/control.sock").health() == nil)
    }

    @Test func pathsLongerThanAnAddressWork() async throws {
        let directory = TemporaryDirectory()
        let long = directory.path + "/" + String(repeating: "long-directory-name/", count: 8)
        try makeDirectories(String(long.dropLast()))
        try await TestServer.run(path: long + "control.sock") { _, client, path in
            #expect(path.utf8.count > 160)
            let health = try await client.health()
            #expect(health?.version == "1.2.3")
        }
    }

    @Test func failedConnectionsLeaveNoDescriptor() async throws {
        let directory = TemporaryDirectory()
        let path = "\(directory.path)/control.sock"
        try makeStaleSocket(path)
        let client = ControlClient(path: path)
        let before = ProcessMemory.current().openFiles
        for _ in 0..<200 { #expect(try await client.health() == nil) }
        #expect(ProcessMemory.current().openFiles < before + 100)
    }

    @Test func aDrainingServerSaysSoAndTakesNoCommands() async throws {
        try await TestServer.run { test, client, _ in
            test.server.beginDraining()
            let health = try await client.health()
            #expect(health?.status == .draining)
            let error = await #expect(throws: StorageError.self) {
                try await client.run(ListVolumes(), progress: { _ in })
            }
            #expect(error?.code == .busy)
        }
    }

    /// A socket file that nobody listens on any more.
    private func makeStaleSocket(_ path: String) throws {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        try #require(bound == 0)
    }
}
