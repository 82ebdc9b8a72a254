import StoreCore

/// A server's address, taken apart, and how a bucket is named in requests to it.
struct S3Endpoint: Hashable, Sendable {
    let isSecure: Bool
    /// `host` or `host:port`, as the Host header carries it; IPv6 in brackets.
    let authority: String
    /// What stands before the bucket in each path: empty, or `/some/path`.
    let basePath: String
    let bucket: String
    /// `http://host/bucket/key`, not `http://bucket.host/key`.
    let usesPathStyle: Bool

    init(_ configuration: S3Configuration) throws(StorageError) {
        bucket = configuration.location.bucket
        guard let url = configuration.endpoint else {
            isSecure = true
            authority = Self.awsHost(region: configuration.region)
            basePath = ""
            // A dot in the bucket's name does not match the wildcard of AWS's certificate.
            usesPathStyle = configuration.usesPathStyle ?? bucket.contains(".")
            return
        }
        (isSecure, authority, basePath) = try Self.parse(url)
        usesPathStyle = configuration.usesPathStyle ?? true
    }

    var host: String { usesPathStyle ? authority : "\(bucket).\(authority)" }
    var scheme: String { isSecure ? "https" : "http" }

    /// The encoded path of a key, or of the bucket itself; it is what is signed and what is sent.
    func path(key: String?) -> String {
        let bucketPath = usesPathStyle ? "\(basePath)/\(bucket)" : basePath
        guard let key else { return bucketPath.isEmpty ? "/" : bucketPath }
        return "\(bucketPath)/\(PercentEncoding.path(key))"
    }

    /// Whether the server is this machine; proxies are for other ones.
    var isLoopback: Bool {
        authority.hasPrefix("127.") || authority.hasPrefix("[::1]") || authority == "localhost"
            || authority.hasPrefix("localhost:")
    }

    private static func awsHost(region: String) -> String {
        "s3.\(region).amazonaws.com" + (region.hasPrefix("cn-") ? ".cn" : "")
    }

    /// `https://` where no scheme is given: unencrypted only for who asks for it.
    private static func parse(
        _ url: String
    ) throws(StorageError) -> (isSecure: Bool, authority: String, basePath: String) {
        var rest = url[...]
        var isSecure = true
        if let colon = url.range(of: "://") {
            switch url[..<colon.lowerBound].lowercased() {
            case "https": break
            case "http": isSecure = false
            default: throw invalid(url, "write https://host:port, or http:// for an unencrypted connection")
            }
            rest = url[colon.upperBound...]
        }
        let slash = rest.firstIndex(of: "/") ?? rest.endIndex
        let (authority, path) = (String(rest[..<slash]), String(rest[slash...]))
        guard isHostAndPort(authority) else { throw invalid(url, "it needs a host name, and perhaps a port") }
        guard path.utf8.allSatisfy({ (0x21...0x7e).contains($0) && !"?#%\\".utf8.contains($0) }) else {
            throw invalid(url, "its path must be plain")
        }
        let base = path.split(separator: "/").map { "/" + PercentEncoding.path(String($0)) }.joined()
        return (isSecure, withoutDefaultPort(authority.lowercased(), isSecure), base)
    }

    private static func isHostAndPort(_ text: String) -> Bool {
        var rest = text[...]
        if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
            guard text[..<end].dropFirst().allSatisfy({ $0.isHexDigit || $0 == ":" || $0 == "." }) else { return false }
            rest = text[text.index(after: end)...]
        } else {
            let host = text.prefix { $0 != ":" }
            let isSound = host.utf8.allSatisfy { byte in
                switch byte {
                case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
                default: "-._".utf8.contains(byte)
                }
            }
            guard !host.isEmpty, isSound else { return false }
            rest = text[host.endIndex...]
        }
        guard let colon = rest.first else { return true }
        return colon == ":" && UInt16(rest.dropFirst()).map { $0 > 0 } == true
    }

    /// Clients leave the default port out of the Host header, so the signature must as well.
    private static func withoutDefaultPort(_ authority: String, _ isSecure: Bool) -> String {
        let port = isSecure ? ":443" : ":80"
        return authority.hasSuffix(port) ? String(authority.dropLast(port.count)) : authority
    }

    private static func invalid(_ url: String, _ what: String) -> StorageError {
        // What was given may hold a password before an @: show none of it then.
        StorageError(.invalid, "the endpoint\(url.contains("@") ? "" : " '\(url)'") is not a server's URL: \(what)")
    }
}

extension String {
    fileprivate func range(of part: String) -> Range<Index>? { firstRange(of: part) }
}
