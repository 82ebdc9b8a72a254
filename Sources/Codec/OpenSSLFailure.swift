import COpenSSL
public import StoreCore

/// What OpenSSL says went wrong. No result of OpenSSL is ever ignored: it is checked, and turned into this.
public enum OpenSSLFailure {
    /// Empties the thread's error queue into one line; the first entry is the cause, the rest is its echo.
    public static func error(_ what: String, code: ErrorCode = .unavailable) -> StorageError {
        let number = ERR_get_error()
        ERR_clear_error()
        guard number != 0 else { return StorageError(code, "OpenSSL cannot \(what)") }
        var text = [CChar](repeating: 0, count: 256)
        ERR_error_string_n(number, &text, text.count)
        let reason = String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        return StorageError(code, "OpenSSL cannot \(what): \(reason)")
    }

    static func check(_ result: Int32, _ what: @autoclosure () -> String) throws(StorageError) {
        guard result == 1 else { throw error(what()) }
    }
}

/// An algorithm of OpenSSL, fetched once per process (a fetch takes microseconds) and kept for its life.
/// OpenSSL's method objects are immutable and may be used from all threads.
struct Fetched: @unchecked Sendable {
    let pointer: OpaquePointer?
    let name: String

    /// Throws `unsupported` where this OpenSSL, or its configuration, lacks the algorithm.
    func get() throws(StorageError) -> OpaquePointer {
        guard let pointer else {
            throw StorageError(
                .unsupported, "this machine's OpenSSL offers no \(name): check its version and openssl.cnf")
        }
        return pointer
    }
    /// For what every OpenSSL 3 has in every configuration.
    var required: OpaquePointer {
        guard let pointer else { preconditionFailure("this machine's OpenSSL offers no \(name)") }
        return pointer
    }

    static func cipher(_ name: String) -> Fetched { Fetched(pointer: EVP_CIPHER_fetch(nil, name, nil), name: name) }
    static func digest(_ name: String) -> Fetched { Fetched(pointer: EVP_MD_fetch(nil, name, nil), name: name) }
    static func derivation(_ name: String) -> Fetched { Fetched(pointer: EVP_KDF_fetch(nil, name, nil), name: name) }
    static func authenticator(_ name: String) -> Fetched { Fetched(pointer: EVP_MAC_fetch(nil, name, nil), name: name) }
}
