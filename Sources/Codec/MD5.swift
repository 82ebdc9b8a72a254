import COpenSSL
public import StoreCore

/// MD5, for the one header that asks for it (Content-MD5 of S3's DeleteObjects). Nothing here trusts it.
public enum MD5 {
    private static let algorithm = Fetched.digest("MD5")

    /// The digest as a Content-MD5 header carries it. Throws `unsupported` where OpenSSL is configured without MD5.
    public static func base64(_ bytes: [UInt8]) throws(StorageError) -> String { Base64.encode(try digest(bytes)) }

    /// 16 bytes.
    public static func digest(_ bytes: [UInt8]) throws(StorageError) -> [UInt8] {
        let algorithm = try algorithm.get()
        var digest = [UInt8](repeating: 0, count: 16)
        var count: UInt32 = 0
        try OpenSSLFailure.check(EVP_Digest(bytes, bytes.count, &digest, &count, algorithm, nil), "compute MD5")
        precondition(count == 16, "an MD5 digest is 16 bytes")
        return digest
    }
}
