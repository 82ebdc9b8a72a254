import CLibSSL
import Codec
import StoreCore
import Synchronization

/// OpenSSL's side of a connection, between two buffers in memory: protected bytes that came in, and protected bytes
/// that are to go out. It never touches a socket.
///
/// OpenSSL's object serves one thread at a time, and a connection has two: one that reads and one that writes. The lock
/// is held while bytes are encrypted, decrypted or moved, at most some 64 KiB, and never across I/O: so a reader that
/// waits for its client holds up no writer.
final class TLSSession: @unchecked Sendable {
    enum Progress: Equatable {
        case done
        /// It goes on when more bytes have come in.
        case starved
    }
    enum Received: Equatable {
        case bytes(Int)
        case starved
        /// The other end said that nothing follows.
        case ended
    }

    /// What a reader may leave for the next writer to send: answers to a client's alerts and key updates. One that
    /// provokes more has nothing good in mind.
    private static let unsentBytesMax = 64 << 10

    private let lock = Mutex(())
    private let ssl: OpaquePointer
    /// Both belong to `ssl`.
    private let incoming: OpaquePointer
    private let outgoing: OpaquePointer
    private let context: TLSContext
    /// The last user whose key was asked for. Of the thread that runs the handshake.
    private var userAsked: String?

    init(_ context: TLSContext) throws(StorageError) {
        ERR_clear_error()
        guard let ssl = SSL_new(context.pointer) else { throw OpenSSLFailure.error("begin a TLS session") }
        guard let incoming = BIO_new(BIO_s_mem()), let outgoing = BIO_new(BIO_s_mem()) else {
            SSL_free(ssl)
            throw OpenSSLFailure.error("begin a TLS session")
        }
        SSL_set_bio(ssl, incoming, outgoing)
        SSL_set_accept_state(ssl)
        self.context = context
        self.ssl = ssl
        self.incoming = incoming
        self.outgoing = outgoing
    }
    deinit { SSL_free(ssl) }

    func keyOfUser(_ user: String) -> SecretBytes? {
        guard let key = context.preSharedKeys?.key(of: user) else { return nil }
        userAsked = user
        return key
    }

    // MARK: Handshake

    /// Throws `denied`, with OpenSSL's reason, when the handshake has failed; an alert for the client may wait to be
    /// sent then.
    func shakeHands() throws(StorageError) -> Progress {
        try lock.withLock { _ throws(StorageError) in
            // For the callback that looks up users; it is called by SSL_accept alone.
            guard zerofs_ssl_set_owner(ssl, Unmanaged.passUnretained(self).toOpaque()) == 1 else {
                throw OpenSSLFailure.error("begin a TLS session")
            }
            defer { _ = zerofs_ssl_set_owner(ssl, nil) }
            ERR_clear_error()
            let result = SSL_accept(ssl)
            if result == 1 { return .done }
            if SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ { return .starved }
            throw failure("finish the handshake")
        }
    }

    /// Says why a certificate was refused, where that was it.
    private func failure(_ what: String) -> StorageError {
        let verdict = SSL_get_verify_result(ssl)
        let error = OpenSSLFailure.error(what, code: .denied)
        guard verdict != Int(X509_V_OK), let text = X509_verify_cert_error_string(verdict) else { return error }
        return StorageError(.denied, "the client's certificate is refused: \(String(cString: text))")
    }

    /// After the handshake. nil when the client proved nothing.
    var preSharedKeyUser: String? { zerofs_ssl_used_psk(ssl) == 1 ? userAsked : nil }

    /// The names of the client's certificate, which the authorities vouch for; nil without one.
    var certificateNames: [String]? {
        guard zerofs_ssl_used_psk(ssl) == 0, let certificate = SSL_get1_peer_certificate(ssl) else { return nil }
        defer { X509_free(certificate) }
        guard SSL_get_verify_result(ssl) == Int(X509_V_OK) else { return nil }
        var names: [String] = []
        withUnsafeMutablePointer(to: &names) { names in
            zerofs_x509_names(
                certificate,
                { context, text, count in
                    guard let context, let text, count > 0 else { return }
                    let bytes = UnsafeBufferPointer(start: text, count: Int(count))
                    // A name with a NUL in it is made to be mistaken for a shorter one.
                    guard !bytes.contains(0), let name = String(validating: bytes, as: UTF8.self) else { return }
                    context.assumingMemoryBound(to: [String].self).pointee.append(name)
                }, names)
        }
        return names.reduce(into: []) { if !$0.contains($1) { $0.append($1) } }
    }

    /// `TLSv1.3 TLS_AES_128_GCM_SHA256`, for logs.
    var terms: String {
        let cipher = SSL_get_current_cipher(ssl).flatMap(SSL_CIPHER_get_name).map { String(cString: $0) } ?? "no cipher"
        return "\(String(cString: SSL_get_version(ssl))) \(cipher)"
    }

    // MARK: Bytes

    /// Takes what came in from the client.
    func feed(_ bytes: UnsafeRawBufferPointer) throws(StorageError) {
        try lock.withLock { _ throws(StorageError) in
            guard BIO_write(incoming, bytes.baseAddress, Int32(bytes.count)) == Int32(bytes.count) else {
                throw OpenSSLFailure.error("keep received bytes")
            }
        }
    }

    /// Decrypts one record's worth. Throws `unavailable` when the bytes are not the client's, or not in order.
    func decrypt(into buffer: UnsafeMutableRawBufferPointer) throws(StorageError) -> Received {
        try lock.withLock { _ throws(StorageError) in
            ERR_clear_error()
            var count = 0
            let result = SSL_read_ex(ssl, buffer.baseAddress, buffer.count, &count)
            guard zerofs_bio_pending(outgoing) <= Self.unsentBytesMax else {
                throw StorageError(.unavailable, "the client provokes TLS messages without end")
            }
            if result == 1 { return .bytes(count) }
            switch SSL_get_error(ssl, result) {
            case SSL_ERROR_WANT_READ: return .starved
            case SSL_ERROR_ZERO_RETURN: return .ended
            default: throw OpenSSLFailure.error("read what the client sent")
            }
        }
    }

    /// Encrypts all of it; what results waits in `takeOutput`.
    func encrypt(_ bytes: UnsafeRawBufferPointer) throws(StorageError) {
        try lock.withLock { _ throws(StorageError) in
            ERR_clear_error()
            var count = 0
            guard SSL_write_ex(ssl, bytes.baseAddress, bytes.count, &count) == 1, count == bytes.count else {
                throw OpenSSLFailure.error("encrypt a reply")
            }
        }
    }

    /// Moves protected bytes for the client out, in their order; returns how many, 0 when there are none left.
    func takeOutput(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        lock.withLock { _ in
            guard zerofs_bio_pending(outgoing) > 0 else { return 0 }
            return max(Int(BIO_read(outgoing, buffer.baseAddress, Int32(clamping: buffer.count))), 0)
        }
    }

    /// Says to the client that nothing follows.
    func sayGoodbye() {
        lock.withLock { _ in
            ERR_clear_error()
            // Its result tells whether the client said the same, which nobody waits for.
            _ = SSL_shutdown(ssl)
            ERR_clear_error()
        }
    }
}
