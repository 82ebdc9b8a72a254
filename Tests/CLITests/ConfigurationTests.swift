@testable import CLI
import Cleaner
import StoreCore
import Testing
import Volumes

/// The least that a configuration says.
let minimal = """
    [store]
    url = "file:///srv/store"
    [keys]
    key_file = "/etc/zerofs/zerofs.key"
    [data]
    directory = "/var/lib/zerofs"
    """

@Suite struct ConfigurationsAreRead {
    private func read(_ text: String) throws -> ZerofsConfiguration {
        try ConfigurationReader.read(text, path: "zerofs.toml")
    }

    @Test func whatIsNotSaidHasItsDefault() throws {
        var expected = ZerofsConfiguration()
        expected.store.url = "file:///srv/store"
        expected.keys.keyFile = "/etc/zerofs/zerofs.key"
        expected.data.directory = "/var/lib/zerofs"
        #expect(try read(minimal) == expected)
    }

    @Test func theDefaultsAreTheEngines() throws {
        let ours = try read(minimal).engineSettings
        let theirs = EngineSettings(dataDirectory: "/var/lib/zerofs")
        #expect(ours.volume.durability == theirs.volume.durability)
        #expect(ours.volume.writeBufferBytes == theirs.volume.writeBufferBytes)
        #expect(ours.volume.uploadDelay == theirs.volume.uploadDelay)
        #expect(ours.volume.flushesInFlightMax == theirs.volume.flushesInFlightMax)
        #expect(ours.volume.storeDeadline == theirs.volume.storeDeadline)
        #expect(ours.volume.recordBlocks == theirs.volume.recordBlocks)
        #expect(ours.volume.compressionLevel == theirs.volume.compressionLevel)
        #expect(ours.volume.journalBytes == theirs.volume.journalBytes)
        #expect(ours.volume.isJournaled == theirs.volume.isJournaled)
        #expect(ours.uploadsInFlightMax == theirs.uploadsInFlightMax)
        #expect(ours.memoryCacheBytes == theirs.memoryCacheBytes)
        #expect(ours.mapCacheBytes == theirs.mapCacheBytes)
        #expect(ours.diskCacheBytes == theirs.diskCacheBytes)
        #expect(ours.gc.retention == theirs.gc.retention)
    }

    @Test func everySettingTakesEffect() throws {
        let configuration = try read(
            """
            durability = "journal"
            log_level = "debug"
            [store]
            url = "s3://bucket/prefix"
            endpoint = "http://127.0.0.1:9000"
            region = "eu-central-1"
            path_style = false
            connections = 16
            retry_deadline = "2h"
            [keys]
            passphrase_file = "/pass"
            [data]
            directory = "/data"
            journal = false
            journal_size = "256M"
            disk_cache_size = 0
            [cache]
            memory_size = "1G"
            map_size = "32M"
            [write]
            buffer_size = "64M"
            uploads = 2
            upload_delay = "250ms"
            flushes = 1
            store_deadline = "30s"
            record_size = "128K"
            compression_level = 0
            [nbd]
            listen = ["0.0.0.0:1", "[::1]:2"]
            socket = "/nbd.sock"
            [control]
            socket = "/c.sock"
            listen = "127.0.0.1:99"
            [gc]
            retention = "7d"
            """)
        #expect(configuration.store.region == "eu-central-1")
        #expect(configuration.store.pathStyle == false)
        #expect(configuration.store.retryDeadline == .seconds(7200))
        #expect(configuration.nbd.listen == ["0.0.0.0:1", "[::1]:2"])
        #expect(configuration.controlSocket == "/c.sock")
        let settings = configuration.engineSettings
        #expect(settings.volume.durability == .journal)
        #expect(settings.volume.compressionLevel == nil)
        #expect(settings.volume.storeDeadline == .seconds(30))
        #expect(settings.volume.recordBlocks == 32)
        #expect(settings.volume.uploadDelay == .milliseconds(250))
        #expect(settings.diskCacheBytes == 0)
        #expect(settings.gc.retention == .seconds(7 * 86400))
    }

    @Test(arguments: [
        ("durabilty = \"store\"\n" + minimal, "zerofs.toml:1: unknown setting 'durabilty', did you mean 'durability'?"),
        (
            minimal + "\njurnal_size = \"1G\"",
            "zerofs.toml:7: unknown setting 'data.jurnal_size', did you mean 'data.journal_size'?"
        ),
        (
            minimal + "\nbuffer_size = \"1G\"",
            "zerofs.toml:7: unknown setting 'data.buffer_size', did you mean 'write.buffer_size'?"
        ),
        (minimal + "\n[nbdd]\nx = 1", "zerofs.toml:7: unknown section [nbdd], did you mean 'nbd'?"),
        (minimal + "\n[write]\nuploads = 0", "zerofs.toml:8: write.uploads must be a number from 1 to 256, not 0"),
        (
            minimal + "\n[write]\nuploads = \"8\"",
            "zerofs.toml:8: write.uploads must be a number from 1 to 256, not \"8\""
        ),
        (
            minimal + "\njournal_size = \"lots\"",
            "zerofs.toml:7: data.journal_size must be a size such as \"512M\", not \"lots\""
        ),
        (
            minimal + "\njournal_size = \"1M\"",
            "zerofs.toml:7: data.journal_size must be a size from 128M to 1T, not \"1M\""
        ),
        (
            minimal + "\n[write]\nrecord_size = \"5000\"",
            "zerofs.toml:8: write.record_size must be a multiple of 4K, not \"5000\""
        ),
        (
            minimal + "\n[write]\nupload_delay = \"5 parsecs\"",
            """
            zerofs.toml:8: write.upload_delay must be a time such as "500ms", "5s", "10m", "2h" or "7d", \
            not "5 parsecs"
            """
        ),
        (
            "durability = \"never\"\n" + minimal,
            "zerofs.toml:1: durability must be one of \"store\", \"journal\", not \"never\""
        ),
        (
            "[keys]\nkey_file = \"/k\"\n[data]\ndirectory = \"/d\"",
            "zerofs.toml: store.url is missing: say where the data lies"
        ),
        (minimal + "\n[keys]\n", "zerofs.toml:7:"),
        (minimal + "\nthis is not TOML", "zerofs.toml:7:"),
    ])
    func mistakesAreNamedWithTheirLine(text: String, message: String) {
        let error = #expect(throws: StorageError.self) { try read(text) }
        #expect(error?.code == .invalid)
        #expect(error?.message.hasPrefix(message) == true, "\(error?.message ?? "")")
    }

    @Test func bothKindsOfKeyOrNoneAreRefused() {
        let both = minimal.replacing("[keys]", with: "[keys]\npassphrase_file = \"/p\"")
        #expect(throws: StorageError.self) { try read(both) }
        #expect(throws: StorageError.self) {
            try read(minimal.replacing("key_file = \"/etc/zerofs/zerofs.key\"", with: ""))
        }
    }
}

@Suite struct ConfigurationsAreWritten {
    private var example: ZerofsConfiguration {
        var configuration = ZerofsConfiguration()
        configuration.store.url = "s3://bucket/\"quoted\""
        configuration.keys.keyFile = "/etc/zerofs/zerofs.key"
        configuration.data.directory = "/var/lib/zerofs"
        return configuration
    }

    @Test func whatInitWritesReadsBackAsTheDefaults() throws {
        let text = ConfigurationText.write(example)
        #expect(try ConfigurationReader.read(text, path: "x") == example)
    }

    @Test func everyDefaultThatIsShownIsTheDefault() throws {
        let text = ConfigurationText.write(example, uncommentsAll: true)
        #expect(try ConfigurationReader.read(text, path: "x") == example)
        for setting in Setting.all where setting.write(ZerofsConfiguration()) != nil {
            #expect(text.contains("\n\(setting.key) = "), "\(setting.name)")
        }
    }

    @Test func everySettingIsThereWithItsExplanation() {
        let text = ConfigurationText.write(example)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        for setting in Setting.all {
            #expect(
                lines.contains { $0.hasPrefix("\(setting.key) = ") || $0.hasPrefix("# \(setting.key) = ") },
                "\(setting.name)")
            #expect(setting.explanation.count > 10 && setting.explanation.hasSuffix("."), "\(setting.name)")
        }
        #expect(lines.allSatisfy { $0.count <= 120 })
        #expect(Set(Setting.all.map(\.name)).count == Setting.all.count)
    }

    @Test func everyExampleCouldBeUncommented() throws {
        // The keys exclude each other.
        let lines = ConfigurationText.write(example).split(separator: "\n").map { line in
            guard let setting = Setting.all.first(where: { line.hasPrefix("# \($0.key) = ") }),
                setting.name != "keys.passphrase_file"
            else { return String(line) }
            return String(line.dropFirst(2))
        }
        let configuration = try ConfigurationReader.read(lines.joined(separator: "\n"), path: "x")
        #expect(configuration.nbd.listen == ["127.0.0.1:10809"])
    }
}

@Suite struct SizesAndTimesAreWrittenAsPeopleDo {
    @Test(
        arguments: [
            ("512M", 512 << 20), ("10G", 10 << 30), ("4T", 4 << 40), ("1P", 1 << 50), ("4096", 4096), ("1.5K", 1536),
            ("8gib", 8 << 30),
        ] as [(String, UInt64)])
    func sizes(text: String, bytes: UInt64) throws {
        #expect(try SizeArgument.parse(text) == bytes)
        #expect(ByteSize.parse(SizeText.exact(bytes)) == bytes)
    }
    @Test(arguments: ["", "G", "1X", "-1", "1e9", "1.2.3G", "99999P", "1.5"])
    func nonsenseIsNoSize(text: String) {
        #expect(throws: (any Error).self) { try SizeArgument.parse(text) }
    }
    @Test(arguments: ["0s", "500ms", "5s", "90s", "10m", "2h", "7d"])
    func times(text: String) throws {
        let duration = try #require(DurationText.parse(text))
        #expect(DurationText.parse(DurationText.format(duration)) == duration)
    }
    @Test(arguments: ["", "5", "s", "-5s", "5 s", "5y", "99999999999999999999s", "9999999999999999d"])
    func nonsenseIsNoTime(text: String) { #expect(DurationText.parse(text) == nil) }
}
