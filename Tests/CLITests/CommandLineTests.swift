import Control
import Glibc
import StoreCore
import Testing
import Volumes

/// The built program, from outside: exit codes, streams, what it leaves behind.
@Suite struct ExitCodesAreAsDocumented {
    @Test func usage() async throws {
        let zerofs = try await ZerofsBinary.withStore()
        for arguments in [
            ["nonsense"], ["create"], ["create", "v"], ["create", "v", "--size", "1X"],
            ["create", "a b", "--size", "1G"],
            ["create", "a@b", "--size", "1G"], ["create", "v", "--size", "0"], ["create", "v", "--size", "2P"],
            ["list", "--nonsense"], ["rollback", "v", "--force"], ["list", "--log-level", "loud"],
            ["accept", "v@s"], ["journals", "drop"], ["branch", "--from-journal", "feedfeed"],
            ["branch", "--from-journal", "feedfeed", "a", "b"], ["branch", "--from-journal", "fee", "a"],
            ["init", "--store", "ftp://x"], ["init", "--store", "s3://b", "--key-file", "a", "--passphrase-file", "b"],
        ] {
            let ending = try await zerofs.run(arguments)
            #expect(ending.code == 2, "\(arguments): \(ending)")
            expectOneLine(ending)
        }
        #expect(try await zerofs.run("list", "--json").output == "[\n\n]\n")
    }

    @Test func notFound() async throws {
        let zerofs = try await ZerofsBinary.withStore()
        for arguments in [
            ["info", "nope"], ["snapshot", "nope"], ["delete", "nope@s"], ["branch", "nope", "new"],
            ["hold", "nope", "t"], ["accept", "nope"], ["journals", "drop", "feedfeed", "--force"],
            ["branch", "--from-journal", "feedfeed", "new"],
            ["list", "--config", "nowhere.toml"],
        ] {
            let ending = try await zerofs.run(arguments)
            #expect(ending.code == 3, "\(arguments): \(ending)")
            expectOneLine(ending)
        }
        let nothing = ZerofsBinary()
        let ending = try await nothing.run("list")
        #expect(ending.code == 3)
        #expect(ending.errors.contains("zerofs init"))
    }

    @Test func alreadyExists() async throws {
        let zerofs = try await ZerofsBinary.withStore()
        #expect(try await zerofs.run("create", "v", "--size", "1G").code == 0)
        let taken = try await zerofs.run("create", "v", "--size", "2G")
        #expect(taken.code == 4)
        expectOneLine(taken)
        let again = try await zerofs.run(
            "init", "--store", "file://\(zerofs.directory.path)/store", "--config",
            "\(zerofs.directory.path)/b/zerofs.toml")
        #expect(again.code == 4)
        #expect(access("\(zerofs.directory.path)/b/zerofs.toml", F_OK) != 0)
        #expect(access("\(zerofs.directory.path)/b/zerofs.key", F_OK) != 0)
    }

    @Test func busy() async throws {
        let zerofs = try await ZerofsBinary.withStore()
        let data = "\(zerofs.directory.path)/zerofs-data"
        let lock = try DataDirectoryLock.acquire(in: data, as: LockHolder(pid: 4711, command: "serve"))
        let ending = try await zerofs.run("serve", "--listen", "127.0.0.1:0")
        #expect(ending.code == 5, "\(ending)")
        #expect(ending.errors.contains("4711"))
        withExtendedLifetime(lock) {}
    }

    @Test func helpAndVersionSucceed() async throws {
        let zerofs = ZerofsBinary()
        for arguments in [["--help"], ["create", "--help"], ["help", "gc"], ["--version"]] {
            let ending = try await zerofs.run(arguments)
            #expect(ending.code == 0 && !ending.output.isEmpty && ending.errors.isEmpty, "\(ending)")
        }
    }

    private func expectOneLine(_ ending: ZerofsBinary.Ending) {
        #expect(ending.output.isEmpty, "\(ending)")
        #expect(ending.errors.hasPrefix("zerofs: ") && ending.errors.filter(\.isNewline).count == 1, "\(ending)")
    }
}

@Suite struct InitLeavesAllOrNothing {
    @Test func configurationKeyAndStore() async throws {
        let zerofs = try await ZerofsBinary.withStore()
        var status = stat()
        #expect(stat("\(zerofs.directory.path)/zerofs.key", &status) == 0 && status.st_mode & 0o777 == 0o600)
        #expect(stat(zerofs.config, &status) == 0 && status.st_mode & 0o777 == 0o600)
        #expect(access("\(zerofs.directory.path)/store", F_OK) == 0)
    }

    @Test func aDirectoryWithSomethingInItIsLeftAlone() async throws {
        let zerofs = ZerofsBinary()
        let place = "\(zerofs.directory.path)/place"
        mkdir(place, 0o755)
        close(open("\(place)/Holiday Photo.JPG", O_CREAT | O_WRONLY, 0o600))
        let ending = try await zerofs.run("init", "--store", "file://\(place)")
        #expect(ending.code == 4)
        #expect(ending.errors.contains("Holiday Photo.JPG"))
        #expect(access(zerofs.config, F_OK) != 0)
    }

    @Test func theStoreCannotHoldItsOwnConfiguration() async throws {
        let zerofs = ZerofsBinary()
        #expect(try await zerofs.run("init", "--store", "file://\(zerofs.directory.path)").code == 2)
    }

    @Test func itsReportIsJSONWhenAsked() async throws {
        let zerofs = ZerofsBinary()
        let ending = try await zerofs.run("init", "--store", "file://\(zerofs.directory.path)/s", "--json")
        let root = zerofs.directory.path
        #expect(
            ending.output == """
                {
                  "config" : "\(root)/zerofs.toml",
                  "dataDirectory" : "\(root)/zerofs-data",
                  "keyFile" : "\(root)/zerofs.key",
                  "store" : "file://\(root)/s"
                }

                """)
        #expect(ending.errors.contains("loses"))
    }
}

@Suite struct AServerIsFound {
    @Test func commandsGoThroughItAndItLeavesCleanly() async throws {
        let zerofs = try await ZerofsBinary.withStore()
        let root = zerofs.directory.path
        let server = try zerofs.start(["serve", "--listen", "127.0.0.1:0", "--nbd-socket", "\(root)/nbd.sock"])
        for _ in 0..<1200 where !server.outputSoFar().contains("\n") { try await Task.sleep(for: .milliseconds(50)) }
        let ready = server.outputSoFar()
        #expect(ready.hasPrefix("ready nbd=127.0.0.1:"))
        #expect(ready.hasSuffix(" nbd=unix:\(root)/nbd.sock control=\(root)/zerofs-data/control.sock\n"))

        #expect(try await zerofs.run("create", "v", "--size", "64M").output == "v\n")
        let statistics = try ControlJSON.decode(
            StatisticsReport.self, from: Array(try await zerofs.run("stats", "--json").output.utf8))
        #expect(statistics.pid == server.pid)
        #expect(try await zerofs.run("snapshot", "v", "--name", "s").output == "v@s\n")
        let tree = try await zerofs.run("list", "--tree").output
        #expect(tree.split(separator: "\n").map { $0.prefix { $0 != "(" } } == ["v  ", "└─ v@s  "])
        let second = try await zerofs.run("serve", "--listen", "127.0.0.1:0")
        #expect(second.code == 5, "\(second)")
        #expect(second.errors.contains("\(server.pid)"))

        kill(server.pid, SIGTERM)
        let ending = try await BlockingPool(name: "wait", threads: 1).run { server.wait() }
        #expect(ending.code == 0, "\(ending)")
        #expect(access("\(root)/zerofs-data/control.sock", F_OK) != 0)
        #expect(try await zerofs.run("stats").code == 1)
        #expect(try await zerofs.run("info", "v@s").code == 0)
    }

    /// Standard input ends at once: the greeting is all that there is to say.
    @Test func onStandardOutputThereIsNothingButNBD() async throws {
        let zerofs = try await ZerofsBinary.withStore()
        #expect(try await zerofs.run("create", "v", "--size", "64M").code == 0)
        let ending = try await zerofs.run("serve", "--stdio", "v")
        #expect(ending.code == 0 && ending.errors.isEmpty, "\(ending)")
        #expect(ending.output == "NBDMAGICIHAVEOPT\0\u{3}")
        let missing = try await zerofs.run("serve", "--stdio", "v@none")
        #expect(missing.code == 3 && missing.output.isEmpty, "\(missing)")
        #expect(try await zerofs.run("info", "v").code == 0)
    }

    @Test func whatAKilledServerLeftIsNoObstacle() async throws {
        let zerofs = try await ZerofsBinary.withStore()
        let server = try zerofs.start(["serve", "--listen", "127.0.0.1:0"])
        for _ in 0..<1200 where !server.outputSoFar().contains("\n") { try await Task.sleep(for: .milliseconds(50)) }
        kill(server.pid, SIGKILL)
        _ = try await BlockingPool(name: "wait", threads: 1).run { server.wait() }
        #expect(access("\(zerofs.directory.path)/zerofs-data/control.sock", F_OK) == 0)
        #expect(try await zerofs.run("create", "v", "--size", "64M").code == 0)
    }
}
