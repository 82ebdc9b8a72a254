public import StoreCore

/// The files that a server's security comes from, all PEM but `preSharedKeys`. Absolute paths.
public struct TLSFiles: Sendable, Equatable {
    /// The server's certificate, then those that lead to its authority.
    public var certificate: String?
    /// The certificate's private key, not encrypted; only its owner may read the file.
    public var key: String?
    /// Authorities whose clients are let in. Set, clients must identify themselves.
    public var authorities: String?
    /// Lists of certificates that the authorities have revoked.
    public var revocations: String?
    /// Lines `user:hexkey`, as psktool writes them; only its owner may read the file. Set, clients must identify
    /// themselves.
    public var preSharedKeys: String?

    public init(
        certificate: String? = nil, key: String? = nil, authorities: String? = nil, revocations: String? = nil,
        preSharedKeys: String? = nil
    ) {
        self.certificate = certificate
        self.key = key
        self.authorities = authorities
        self.revocations = revocations
        self.preSharedKeys = preSharedKeys
    }

    /// Whether a client must prove who it is.
    public var identifiesClients: Bool { authorities != nil || preSharedKeys != nil }

    /// Throws `invalid` where the files do not make a server.
    public func requireUsable() throws(StorageError) {
        guard (certificate == nil) == (key == nil) else {
            throw StorageError(.invalid, "TLS: a certificate and its key belong together")
        }
        guard certificate != nil || preSharedKeys != nil else {
            throw StorageError(.invalid, "TLS needs a certificate with its key, or a file of pre-shared keys")
        }
        guard authorities == nil || certificate != nil else {
            throw StorageError(.invalid, "TLS: client certificates need a server certificate")
        }
        guard revocations == nil || authorities != nil else {
            throw StorageError(.invalid, "TLS: a list of revoked certificates needs the authorities of clients")
        }
    }
}
