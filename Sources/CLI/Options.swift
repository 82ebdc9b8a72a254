import ArgumentParser
import Codec
import Logging
import StoreCore

/// What every command takes.
struct CommonOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The configuration file.", valueName: "file"), completion: .file(extensions: ["toml"]))
    var config: String?

    @Option(
        help: ArgumentHelp(
            "What to log on standard error: trace, debug, info, notice, warning, error, critical.", valueName: "level"))
    var logLevel: LogLevelArgument?

    func load() throws(StorageError) -> ZerofsConfiguration {
        let (path, configuration) = try ConfigurationFile.load(config)
        if configuration.keys.allowsCoreDumps { SecretMemory.allowDumps() }
        if configuration.store.secretAccessKey != nil, Unlocking.isOpenToOthers(path) {
            Terminal.printNote("\(path) holds a secret and can be read by others: chmod 600 \(path)")
        }
        return configuration
    }
}

/// For commands that claim a volume.
struct TakeOverOption: ParsableArguments {
    @Flag(help: "Claim the volume although another host holds it, which is gone for good.")
    var takeOver = false

    func volume(_ name: String) throws(StorageError) -> VolumeReference? {
        takeOver ? try VolumeReference(parsing: name) : nil
    }
}

struct JSONOption: ParsableArguments {
    @Flag(help: "Print JSON, with the names that docs/cli.md lists.")
    var json = false
}

/// `debug`, in arguments.
struct LogLevelArgument: ExpressibleByArgument, Sendable {
    let level: Logger.Level
    init?(argument: String) {
        guard let level = Logger.Level(rawValue: argument) else { return nil }
        self.level = level
    }
    static var allValueStrings: [String] { Logger.Level.allCases.map(\.rawValue) }
}

/// `10G`, in arguments.
enum SizeArgument {
    @Sendable static func parse(_ text: String) throws -> UInt64 {
        guard let bytes = ByteSize.parse(text) else {
            throw ValidationError("'\(text)' is not a size: write 512M, 10G or 4T")
        }
        return bytes
    }
}
