import StoreCore

/// One line of zerofs.toml: its place, what it means, how it is read and how it is written.
struct Setting: Sendable {
    /// Empty for the lines above all sections.
    let section: String
    let key: String
    let explanation: String
    /// Reads a value into a configuration; throws `invalid` with what is wanted instead.
    let read: @Sendable (SettingValue, inout ZerofsConfiguration) throws(StorageError) -> Void
    /// The value as TOML; nil where it is not set.
    let write: @Sendable (ZerofsConfiguration) -> String?
    /// What the commented line shows where there is no value.
    var example = "\"\""

    var name: String { section.isEmpty ? key : "\(section).\(key)" }
}

/// A value as TOML has it.
enum SettingValue: Equatable, Sendable {
    case text(String)
    case number(Int)
    case truth(Bool)
    case texts([String])
    /// Anything else, by its type's name.
    case other(String)
}

typealias SettingPath<Value> = WritableKeyPath<ZerofsConfiguration, Value> & Sendable

extension Setting {
    private static func wanted(_ what: String) -> StorageError { StorageError(.invalid, what) }

    static func text(
        _ section: String, _ key: String, _ path: any SettingPath<String?>, example: String, _ explanation: String
    ) -> Setting {
        Setting(
            section: section, key: key, explanation: explanation,
            read: { value, configuration throws(StorageError) in
                guard case .text(let text) = value else { throw wanted("a text in quotes") }
                configuration[keyPath: path] = text.isEmpty ? nil : text
            },
            write: { $0[keyPath: path].map(TOMLText.quote) }, example: TOMLText.quote(example))
    }

    static func required(_ section: String, _ key: String, _ path: any SettingPath<String>, _ explanation: String)
        -> Setting
    {
        Setting(
            section: section, key: key, explanation: explanation,
            read: { value, configuration throws(StorageError) in
                guard case .text(let text) = value, !text.isEmpty else { throw wanted("a text in quotes") }
                configuration[keyPath: path] = text
            },
            write: { configuration in
                let text = configuration[keyPath: path]
                return text.isEmpty ? nil : TOMLText.quote(text)
            })
    }

    static func size(
        _ section: String, _ key: String, _ path: any SettingPath<UInt64>, _ range: ClosedRange<UInt64>,
        multipleOf unit: UInt64 = 1, _ explanation: String
    ) -> Setting {
        let bounds = "\(ByteSize.format(range.lowerBound)) to \(ByteSize.format(range.upperBound))"
        return Setting(
            section: section, key: key, explanation: explanation,
            read: { value, configuration throws(StorageError) in
                let bytes: UInt64? =
                    switch value {
                    case .text(let text): ByteSize.parse(text)
                    case .number(let number): UInt64(exactly: number)
                    default: nil
                    }
                guard let bytes else { throw wanted("a size such as \"512M\"") }
                guard range.contains(bytes) else { throw wanted("a size from \(bounds)") }
                guard bytes % unit == 0 else { throw wanted("a multiple of \(ByteSize.format(unit))") }
                configuration[keyPath: path] = bytes
            },
            write: { TOMLText.quote(SizeText.exact($0[keyPath: path])) })
    }

    static func count(
        _ section: String, _ key: String, _ path: any SettingPath<UInt64>, _ range: ClosedRange<UInt64>,
        _ explanation: String
    ) -> Setting {
        Setting(
            section: section, key: key, explanation: explanation,
            read: { value, configuration throws(StorageError) in
                guard case .number(let number) = value, let count = UInt64(exactly: number), range.contains(count)
                else {
                    throw wanted("a number from \(range.lowerBound) to \(range.upperBound)")
                }
                configuration[keyPath: path] = count
            },
            write: { "\($0[keyPath: path])" })
    }

    static func duration(
        _ section: String, _ key: String, _ path: any SettingPath<Duration>, _ range: ClosedRange<Duration>,
        _ explanation: String
    ) -> Setting {
        let bounds = "\(DurationText.format(range.lowerBound)) to \(DurationText.format(range.upperBound))"
        return Setting(
            section: section, key: key, explanation: explanation,
            read: { value, configuration throws(StorageError) in
                guard case .text(let text) = value, let duration = DurationText.parse(text) else {
                    throw wanted("a time such as \"500ms\", \"5s\", \"10m\", \"2h\" or \"7d\"")
                }
                guard range.contains(duration) else { throw wanted("a time from \(bounds)") }
                configuration[keyPath: path] = duration
            },
            write: { TOMLText.quote(DurationText.format($0[keyPath: path])) })
    }

    static func truth(_ section: String, _ key: String, _ path: any SettingPath<Bool>, _ explanation: String) -> Setting
    {
        Setting(
            section: section, key: key, explanation: explanation,
            read: { value, configuration throws(StorageError) in
                guard case .truth(let truth) = value else { throw wanted("true or false") }
                configuration[keyPath: path] = truth
            },
            write: { "\($0[keyPath: path])" })
    }

    static func truth(
        _ section: String, _ key: String, _ path: any SettingPath<Bool?>, example: Bool, _ explanation: String
    ) -> Setting {
        Setting(
            section: section, key: key, explanation: explanation,
            read: { value, configuration throws(StorageError) in
                guard case .truth(let truth) = value else { throw wanted("true or false") }
                configuration[keyPath: path] = truth
            },
            write: { $0[keyPath: path].map { "\($0)" } }, example: "\(example)")
    }

    static func choice<C: RawRepresentable & CaseIterable & Sendable>(
        _ section: String, _ key: String, _ path: any SettingPath<C>, _ explanation: String
    ) -> Setting where C.RawValue == String {
        Setting(
            section: section, key: key, explanation: explanation,
            read: { value, configuration throws(StorageError) in
                guard case .text(let text) = value, let choice = C(rawValue: text) else {
                    throw wanted("one of \(C.allCases.map { TOMLText.quote($0.rawValue) }.joined(separator: ", "))")
                }
                configuration[keyPath: path] = choice
            },
            write: { TOMLText.quote($0[keyPath: path].rawValue) })
    }

    static func texts(
        _ section: String, _ key: String, _ path: any SettingPath<[String]?>, example: [String], _ explanation: String
    ) -> Setting {
        let shown = TOMLText.list(example)
        return Setting(
            section: section, key: key, explanation: explanation,
            read: { value, configuration throws(StorageError) in
                switch value {
                case .texts(let texts): configuration[keyPath: path] = texts
                case .text(let text): configuration[keyPath: path] = [text]
                default: throw wanted("a list of texts, such as \(shown)")
                }
            },
            write: { $0[keyPath: path].map(TOMLText.list) }, example: shown)
    }
}

enum TOMLText {
    /// An array of basic strings.
    static func list(_ texts: [String]) -> String { "[\(texts.map(quote).joined(separator: ", "))]" }

    /// A basic string of TOML.
    static func quote(_ text: String) -> String {
        let escaped = text.unicodeScalars.reduce(into: "") { result, scalar in
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20 || scalar.value == 0x7f:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return "\"\(escaped)\""
    }
}

enum SizeText {
    /// The largest unit that loses nothing: `1536M` rather than `1.5G`, so that it reads back as it was.
    static func exact(_ bytes: UInt64) -> String {
        let units: [(Character, UInt64)] = [("P", 50), ("T", 40), ("G", 30), ("M", 20), ("K", 10)]
        guard bytes > 0, let unit = units.first(where: { bytes & ((1 << $0.1) - 1) == 0 }) else { return "\(bytes)" }
        return "\(bytes >> unit.1)\(unit.0)"
    }
}

/// Times as people write them: `500ms`, `5s`, `10m`, `2h`, `7d`.
enum DurationText {
    private static let units: [(suffix: String, milliseconds: Int64)] = [
        ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
    ]

    static func parse(_ text: String) -> Duration? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let count = Int64(digits), let unit = units.first(where: { $0.suffix == text.dropFirst(digits.count) })
        else {
            return nil
        }
        let (milliseconds, overflow) = count.multipliedReportingOverflow(by: unit.milliseconds)
        return overflow ? nil : .milliseconds(milliseconds)
    }
    /// The largest unit that loses nothing, down to milliseconds.
    static func format(_ duration: Duration) -> String {
        let milliseconds = duration.components.seconds * 1000 + duration.components.attoseconds / 1_000_000_000_000_000
        guard milliseconds > 0 else { return "0s" }
        let unit = units.last { milliseconds % $0.milliseconds == 0 } ?? units[0]
        return "\(milliseconds / unit.milliseconds)\(unit.suffix)"
    }
}
