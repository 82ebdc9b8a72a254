import Foundation
public import StoreCore

/// What the AWS command line and libraries read as well: `AWS_*` variables and the shared files in `~/.aws`.
public struct AWSEnvironment: Sendable {
    private let variables: [String: String]
    private static let fileBytesMax = 1 << 20

    /// - Parameter variables: of the process, or for tests; `HOME` leads to the shared files.
    public init(variables: [String: String]) { self.variables = variables }
    public static var process: AWSEnvironment { AWSEnvironment(variables: ProcessInfo.processInfo.environment) }

    /// A variable that is set and not empty.
    subscript(_ name: String) -> String? { variables[name].flatMap { $0.isEmpty ? nil : $0 } }

    /// `AWS_REGION`, `AWS_DEFAULT_REGION`, then the profile's.
    /// - Throws: `denied` for a named profile that does not exist, or a file that cannot be read.
    public func region() throws(StorageError) -> String? {
        if let region = self["AWS_REGION"] ?? self["AWS_DEFAULT_REGION"] { return region }
        return try profile()?["region"]
    }
    /// `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, then the profile's.
    public func endpoint() throws(StorageError) -> String? {
        if let url = self["AWS_ENDPOINT_URL_S3"] ?? self["AWS_ENDPOINT_URL"] { return url }
        return try profile()?["endpoint_url"]
    }
    /// `AWS_CA_BUNDLE`, then the profile's.
    public func caFile() throws(StorageError) -> String? {
        if let file = self["AWS_CA_BUNDLE"] { return file }
        return try profile()?["ca_bundle"]
    }

    var profileName: String { self["AWS_PROFILE"] ?? self["AWS_DEFAULT_PROFILE"] ?? "default" }

    /// The profile's settings out of both files, those of the credentials file first; nil where neither has it.
    func profile() throws(StorageError) -> [String: String]? {
        let name = profileName
        let configured = try sections(at: configFile)
        let fromConfig = name == "default" ? configured["default"] : nil
        let sections = [try sections(at: credentialsFile)[name], fromConfig ?? configured["profile \(name)"]]
            .compactMap(\.self)
        if sections.isEmpty && name != "default" {
            throw StorageError(.denied, "there is no AWS profile '\(name)' in \(credentialsFile) or \(configFile)")
        }
        return sections.isEmpty ? nil : sections.reduce([:]) { $0.merging($1) { first, _ in first } }
    }

    var credentialsFile: String { self["AWS_SHARED_CREDENTIALS_FILE"] ?? "\(home)/.aws/credentials" }
    var configFile: String { self["AWS_CONFIG_FILE"] ?? "\(home)/.aws/config" }
    private var home: String { self["HOME"] ?? NSHomeDirectory() }

    private func sections(at path: String) throws(StorageError) -> [String: [String: String]] {
        guard FileManager.default.fileExists(atPath: path) else { return [:] }
        guard let file = FileHandle(forReadingAtPath: path) else {
            throw StorageError(.denied, "the AWS settings in \(path) cannot be opened")
        }
        do {
            let bytes = try file.read(upToCount: Self.fileBytesMax) ?? Data()
            return SettingsFile.parse(String(decoding: bytes, as: UTF8.self))
        } catch {
            throw StorageError(.denied, "the AWS settings in \(path) cannot be read", cause: error)
        }
    }
}

/// The format of AWS's shared files: `[section]`, `name = value`, comments with `#` or `;`.
enum SettingsFile {
    static func parse(_ text: String) -> [String: [String: String]] {
        var sections: [String: [String: String]] = [:]
        var current: String?
        for line in text.split(whereSeparator: \.isNewline) {
            let content = line.trimmed()
            if content.isEmpty || content.hasPrefix("#") || content.hasPrefix(";") { continue }
            if content.hasPrefix("["), let end = content.firstIndex(of: "]") {
                // Blanks within `[profile  name]` do not count.
                let name = content[content.index(after: content.startIndex)..<end]
                    .split(whereSeparator: \.isWhitespace).joined(separator: " ")
                current = name
                sections[name] = sections[name] ?? [:]
            } else if let current, line.first?.isWhitespace == false, let equals = content.firstIndex(of: "=") {
                // Indented lines belong to a nested setting, none of which matters here.
                sections[current]?[content[..<equals].trimmed().lowercased()] =
                    withoutComment(content[content.index(after: equals)...])
            }
        }
        return sections
    }

    private static func withoutComment(_ value: Substring) -> String {
        let ends = [" #", " ;", "\t#", "\t;"].compactMap { value.firstRange(of: $0)?.lowerBound }
        return value[..<(ends.min() ?? value.endIndex)].trimmed()
    }
}
