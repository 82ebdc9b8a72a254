import CLibSSL
import Codec
import StoreCore

/// A server's certificates, keys and rules, as one set of files gave them. Immutable; connections of several threads
/// may be made from it.
///
/// TLS 1.3 is preferred; of TLS 1.2 only suites with forward secrecy and authenticated encryption are taken. SHA-256
/// suites come first, because pre-shared keys of TLS 1.3 are bound to that hash.
final class TLSContext: @unchecked Sendable {
    private static let suites13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
    private static let suites12 =
        "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE-PSK-CHACHA20-POLY1305:DHE-PSK-AES128-GCM-SHA256:DHE-PSK-AES256-GCM-SHA384"

    let pointer: OpaquePointer
    let preSharedKeys: PreSharedKeys?
    /// Whether a client must show a pre-shared key or a certificate.
    let identifiesClients: Bool

    init(_ files: TLSFiles) throws(StorageError) {
        try files.requireUsable()
        guard let pointer = SSL_CTX_new(TLS_server_method()) else { throw OpenSSLFailure.error("begin with TLS") }
        self.pointer = pointer
        preSharedKeys =
            if let path = files.preSharedKeys { try PreSharedKeys.load(path) } else { nil }
        identifiesClients = files.identifiesClients
        try check(zerofs_ssl_ctx_harden(pointer), "set the limits of TLS")
        try check(SSL_CTX_set_ciphersuites(pointer, Self.suites13), "choose the ciphers of TLS 1.3")
        try check(SSL_CTX_set_cipher_list(pointer, Self.suites12), "choose the ciphers of TLS 1.2")
        try takeCertificate(files)
        try takeAuthorities(files)
        if preSharedKeys != nil { SSL_CTX_set_psk_server_callback(pointer, answerUser) }
    }
    deinit { SSL_CTX_free(pointer) }

    private func takeCertificate(_ files: TLSFiles) throws(StorageError) {
        guard let certificate = files.certificate, let path = files.key else { return }
        try check(SSL_CTX_use_certificate_chain_file(pointer, certificate), "use the certificate \(certificate)")
        let key = try SecretFile.read(path, "key")
        let taken = key.withBytes { zerofs_ssl_ctx_use_key(pointer, $0.baseAddress, Int32($0.count)) }
        try check(taken, "use the key \(path) (PEM, not encrypted, of the certificate \(certificate))")
        try check(SSL_CTX_check_private_key(pointer), "use the key \(path) with the certificate \(certificate)")
    }

    private func takeAuthorities(_ files: TLSFiles) throws(StorageError) {
        guard let authorities = files.authorities else { return }
        // A client with a pre-shared key is not asked for a certificate; any other must have one.
        try check(zerofs_ssl_ctx_trust(pointer, authorities, 1), "use the authorities \(authorities)")
        guard let path = files.revocations else { return }
        try check(zerofs_ssl_ctx_revoke(pointer, path), "use the revocations \(path)")
    }

    private func check(_ result: Int32, _ what: String) throws(StorageError) {
        guard result == 1 else { throw OpenSSLFailure.error(what, code: .invalid) }
    }
}

/// OpenSSL asks for a user's key: of TLS 1.2 after the user was named, of TLS 1.3 for each user that a client offers.
/// 0 says that there is no such user.
private func answerUser(
    _ ssl: OpaquePointer?, _ name: UnsafePointer<CChar>?, _ target: UnsafeMutablePointer<UInt8>?, _ bytesMax: UInt32
) -> UInt32 {
    guard let ssl, let name, let target, let owner = zerofs_ssl_owner(ssl) else { return 0 }
    let session = Unmanaged<TLSSession>.fromOpaque(owner).takeUnretainedValue()
    guard let key = session.keyOfUser(String(cString: name)), key.count <= Int(bytesMax) else { return 0 }
    key.withBytes { UnsafeMutableRawBufferPointer(start: target, count: $0.count).copyMemory(from: $0) }
    return UInt32(key.count)
}
