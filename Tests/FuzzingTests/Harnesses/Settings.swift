import Control
import StoreCore

@testable import CLI

extension Harness {
    static let settings: [Harness] = [
        Harness(
            // The parser is another's, in C++; its tree is large for what it holds.
            name: "configuration", memory: { (32 << 20) + 8192 * $0 }, isSlow: true,
            words: Setting.all.map { "\($0.key) = " } + Array(Set(Setting.all.map { "[\($0.section)]\n" }))
                + ["'''", "\"\"\"", "1979-05-27T07:32:00Z", "0x7fffffffffffffff", "inf", "nan", "{", "}", "[[", "]]"],
            seeds: {
                var configuration = ZerofsConfiguration()
                configuration.store.url = "s3://bucket/prefix"
                configuration.data.directory = "/var/lib/zerofs"
                configuration.keys.keyFile = "/etc/zerofs/key"
                return [
                    Array(ConfigurationText.write(configuration, uncommentsAll: true).utf8),
                    Array("[store]\nurl = \"file:///s\"\n[keys]\nkey_file = 'k'\n[data]\ndirectory = 'd'\n".utf8),
                    Array("durabilty = 1\n[store]\nulr = 2\n".utf8),
                ]
            },
            body: { input in
                let text = String(decoding: input, as: UTF8.self)
                let configuration = try ConfigurationReader.read(text, path: "zerofs.toml")
                let written = ConfigurationText.write(configuration, uncommentsAll: true)
                let again = try ConfigurationReader.read(written, path: "again")
                require(ConfigurationText.write(again, uncommentsAll: true) == written, "settings come back")
            }),
        Harness(
            name: "arguments", words: ["@", "file:///", "s3://", "GiB", "1.5", "ms", "127.0.0.1:", "[::1]:", "7d"],
            seeds: {
                [
                    "pg-prod@monday", "512M", "1.5GiB", "10m", "127.0.0.1:10809", "[::1]:5", "file:///srv/store",
                    "/run/x",
                ]
                .map { Array($0.utf8) }
            },
            body: { input in
                let text = String(decoding: input, as: UTF8.self)
                if let size = ByteSize.parse(text) { _ = ByteSize.format(size) }
                if let duration = DurationText.parse(text) { _ = DurationText.format(duration) }
                _ = try? HostAndPort(parsing: text)
                _ = try? ControlAddress(parsing: text)
                _ = try? StoreLocation(parsing: text)
                _ = EditDistance.nearest(to: text, among: Setting.all.map(\.name))
                let reference = try VolumeReference(parsing: text)
                require(try VolumeReference(parsing: "\(reference)") == reference, "a name is itself")
            }),
    ]
}
