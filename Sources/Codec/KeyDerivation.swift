import COpenSSL
import StoreCore

/// HKDF-SHA256 (RFC 5869): one secret into keys for single purposes, told apart by salt and info.
enum HKDF {
    private static let algorithm = Fetched.derivation("HKDF")

    static func derive(
        from secret: SecretBytes, salt: [UInt8], info: [UInt8], count: Int = 32,
        placement: SecretBytes.Placement = .plain
    ) throws(StorageError) -> SecretBytes {
        let algorithm = try algorithm.get()
        return try SecretBytes(count: count, placement: placement) { (output) throws(StorageError) in
            let result = secret.withBytes { secret in
                salt.withUnsafeBytes { salt in
                    info.withUnsafeBytes { info in
                        zerofs_hkdf_sha256(
                            algorithm, secret.baseAddress, secret.count, salt.baseAddress, salt.count, info.baseAddress,
                            info.count, output.baseAddress, output.count)
                    }
                }
            }
            try OpenSSLFailure.check(result, "derive a key (HKDF)")
        }
    }
}

/// What a guess of the passphrase costs: scrypt (RFC 7914) with N = 2^logN.
public struct ScryptCost: Hashable, Sendable {
    public var logN: UInt8
    public var blockSize: UInt8
    public var parallelism: UInt8

    public init(logN: UInt8, blockSize: UInt8 = 8, parallelism: UInt8 = 1) {
        self.logN = logN
        self.blockSize = blockSize
        self.parallelism = parallelism
    }
    /// 128 MiB and about 0.4 s per guess: OWASP's recommendation.
    public static let standard = ScryptCost(logN: 17)

    /// A superblock is read before anything authenticates it: these bounds keep a hostile one from taking the
    /// machine's memory or an hour of its time.
    static let memoryBytesMax: UInt64 = 512 << 20
    static let parallelismMax: UInt8 = 4

    var memoryBytes: UInt64 { 128 * UInt64(blockSize) << UInt64(logN) }
    var isAcceptable: Bool {
        (1...22).contains(logN) && (1...32).contains(blockSize) && (1...Self.parallelismMax).contains(parallelism)
            && memoryBytes <= Self.memoryBytesMax
    }
}

enum Scrypt {
    private static let algorithm = Fetched.derivation("SCRYPT")

    /// Blocks the thread for the time that the cost asks for. The cost is within its bounds: decoding checked it.
    static func derive(
        passphrase: SecretBytes, salt: [UInt8], cost: ScryptCost, count: Int = 32
    ) throws(StorageError) -> SecretBytes {
        precondition(cost.isAcceptable, "scrypt cost out of bounds")
        let algorithm = try algorithm.get()
        return try SecretBytes(count: count, placement: .locked) { (output) throws(StorageError) in
            let result = passphrase.withBytes { passphrase in
                salt.withUnsafeBytes { salt in
                    zerofs_scrypt(
                        algorithm, passphrase.baseAddress, passphrase.count, salt.baseAddress, salt.count,
                        1 << UInt64(cost.logN), UInt32(cost.blockSize), UInt32(cost.parallelism),
                        2 * cost.memoryBytes + (1 << 20), output.baseAddress, output.count)
                }
            }
            try OpenSSLFailure.check(
                result, "derive the key from the passphrase (scrypt, \(ByteSize.format(cost.memoryBytes)) of memory)")
        }
    }
}
