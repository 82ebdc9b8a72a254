import CLibSSL
import Glibc
import Logging
import StoreCore
import TLS

/// Servers and clients with keys of this process's own. Its key is never written but to files that are gone at once.
final class TLSServers: @unchecked Sendable {
    enum Kind: UInt8, CaseIterable {
        /// Clients of its authority, or with a pre-shared key.
        case careful
        /// Has a certificate, and wants none.
        case anyone
        case keysOnly
    }

    static let shared: TLSServers = {
        do { return try TLSServers() } catch { preconditionFailure("TLS begins: \(error)") }
    }()

    // Nothing changes after `init`; OpenSSL's contexts may be shared.
    private var securities: [Kind: TLSSecurity] = [:]
    private var clients: [UInt8: OpaquePointer] = [:]
    private static let user = "db1"
    private static let preSharedKey = [UInt8](repeating: 0x5e, count: 32)

    func security(_ kind: Kind) throws -> TLSSecurity {
        guard let security = securities[kind] else { throw StorageError(.invalid, "there is no such server") }
        return security
    }
    func client(_ scene: TLSScene) throws -> OpaquePointer {
        guard let client = clients[Self.number(scene.proof, isOld: scene.isOld)] else {
            throw StorageError(.invalid, "there is no such client")
        }
        return client
    }

    private init() throws {
        let key = try Self.makeKey(), certificate = try Self.makeCertificate(key)
        let folder = "/tmp/zerofs-fuzz-tls-\(getpid())"
        guard mkdir(folder, 0o700) == 0 || errno == EEXIST else { throw systemError("make \(folder)") }
        var files = TLSFiles(certificate: "\(folder)/certificate", key: "\(folder)/key")
        let keys = "\(folder)/keys"
        let digits = String(repeating: "5e", count: Self.preSharedKey.count)
        try Self.write(Self.text { PEM_write_bio_X509($0, certificate) }, to: "\(folder)/certificate")
        try Self.write(
            Self.text { PEM_write_bio_PrivateKey($0, key, nil, nil, 0, nil, nil) }, to: "\(folder)/key")
        try Self.write(Array("\(Self.user):\(digits)\n".utf8), to: keys)

        let log = Logger(label: "fuzz") { _ in Unread() }
        securities[.anyone] = try TLSSecurity(files, log: log)
        securities[.keysOnly] = try TLSSecurity(TLSFiles(preSharedKeys: keys), log: log)
        (files.authorities, files.preSharedKeys) = (files.certificate, keys)
        securities[.careful] = try TLSSecurity(files, log: log)
        for name in ["certificate", "key", "keys"] { unlink("\(folder)/\(name)") }
        rmdir(folder)

        for proof in [TLSScene.Proof.none, .certificate, .key, .wrongKey] {
            for isOld in [false, true] {
                clients[Self.number(proof, isOld: isOld)] = try Self.client(proof, isOld, key, certificate)
            }
        }
    }

    private static func number(_ proof: TLSScene.Proof, isOld: Bool) -> UInt8 { proof.rawValue << 1 | (isOld ? 1 : 0) }

    private static func client(
        _ proof: TLSScene.Proof, _ isOld: Bool, _ key: OpaquePointer, _ certificate: OpaquePointer
    ) throws -> OpaquePointer {
        guard let context = SSL_CTX_new(TLS_client_method()) else { throw StorageError(.invalid, "no client") }
        let version = Int(isOld ? TLS1_2_VERSION : TLS1_3_VERSION)
        SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, version, nil)
        SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, version, nil)
        if isOld, proof == .key || proof == .wrongKey {
            SSL_CTX_set_cipher_list(context, "ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES128-GCM-SHA256")
        }
        switch proof {
        case .none: break
        case .certificate:
            SSL_CTX_use_certificate(context, certificate)
            SSL_CTX_use_PrivateKey(context, key)
        case .key:
            SSL_CTX_set_psk_client_callback(context) { _, _, name, _, key, _ in TLSServers.answer(name, key, 0x5e) }
        case .wrongKey:
            SSL_CTX_set_psk_client_callback(context) { _, _, name, _, key, _ in TLSServers.answer(name, key, 0x5f) }
        }
        return context
    }
    fileprivate static func answer(
        _ name: UnsafeMutablePointer<CChar>?, _ key: UnsafeMutablePointer<UInt8>?, _ byte: UInt8
    ) -> UInt32 {
        guard let name, let key else { return 0 }
        strcpy(name, user)
        memset(key, Int32(byte), preSharedKey.count)
        return UInt32(preSharedKey.count)
    }

    private static func makeKey() throws -> OpaquePointer {
        let context = EVP_PKEY_CTX_new_id(NID_ED25519, nil)
        defer { EVP_PKEY_CTX_free(context) }
        var key: OpaquePointer?
        EVP_PKEY_keygen_init(context)
        EVP_PKEY_keygen(context, &key)
        guard let key else { throw StorageError(.invalid, "no key") }
        return key
    }
    /// Of the authority, the server and the client at once.
    private static func makeCertificate(_ key: OpaquePointer) throws -> OpaquePointer {
        guard let certificate = X509_new() else { throw StorageError(.invalid, "no certificate") }
        X509_set_version(certificate, 2)
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1)
        X509_gmtime_adj(X509_getm_notBefore(certificate), -86400)
        X509_gmtime_adj(X509_getm_notAfter(certificate), 86400 * 365)
        X509_set_pubkey(certificate, key)
        let name = X509_get_subject_name(certificate)
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_FLAG | 1, "localhost", -1, -1, 0)
        X509_set_issuer_name(certificate, name)
        guard X509_sign(certificate, key, nil) > 0 else { throw StorageError(.invalid, "no signature") }
        return certificate
    }

    private static func text(_ write: (OpaquePointer?) -> Int32) throws -> [UInt8] {
        let target = BIO_new(BIO_s_mem())
        defer { BIO_free(target) }
        guard let target, write(target) == 1 else { throw StorageError(.invalid, "no text") }
        var bytes = [UInt8](repeating: 0, count: zerofs_bio_pending(target))
        BIO_read(target, &bytes, Int32(bytes.count))
        return bytes
    }
    private static func write(_ bytes: [UInt8], to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw systemError("make \(path)") }
        defer { close(descriptor) }
        guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else { throw systemError("write \(path)") }
    }
}

/// Takes every line, so that each is made.
private struct Unread: LogHandler {
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace
    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }
    func log(event: LogEvent) {}
}
