import Logging
import StoreCore
import Volumes

extension Setting {
    /// Every setting, in the order of the file.
    static let all: [Setting] =
        [
            .choice(
                "", "durability", \.durability,
                """
                When a flush is answered: "store" when the data is in the bucket, "journal" when it is in the local, \
                fsynced journal.
                """),
            .choice(
                "", "log_level", \.logLevel,
                "How much the server tells: trace, debug, info, notice, warning, error or critical."),
        ] + store + keys + data + cache + write + nbd + tls + control + gc

    private static let store: [Setting] = [
        .required("store", "url", \.store.url, "Where the data lies: file:///abs/dir or s3://bucket/prefix."),
        .text(
            "store", "endpoint", \.store.endpoint, example: "https://s3.example.com:9000",
            "The S3 server; without it $AWS_ENDPOINT_URL, else AWS."),
        .text(
            "store", "region", \.store.region, example: "us-east-1",
            "The bucket's region; without it that of the environment or profile, else us-east-1."),
        .text(
            "store", "profile", \.store.profile, example: "default",
            "The profile of ~/.aws/credentials to use; without it AWS_* variables, then $AWS_PROFILE or \"default\"."),
        .text(
            "store", "access_key_id", \.store.accessKeyID, example: "",
            "S3 credentials right here, where files and variables are not wanted; keep this file secret then."),
        .text("store", "secret_access_key", \.store.secretAccessKey, example: "", "Belongs to access_key_id."),
        .truth(
            "store", "path_style", \.store.pathStyle, example: true,
            "Name the bucket in the path, not in the host name; decided by the endpoint unless set."),
        .text(
            "store", "ca_file", \.store.caFile, example: "/etc/ssl/private-ca.pem",
            "Certificate authorities to trust instead of the system's."),
        .truth(
            "store", "checksums", \.store.sendsChecksum,
            "Send x-amz-checksum-sha256 as well, which some servers keep."),
        .count("store", "connections", \.store.connections, 1...1024, "S3 requests that run at once."),
        .duration(
            "store", "connect_timeout", \.store.connectTimeout, .seconds(1)...(.seconds(300)),
            "How long making a connection may take."),
        .duration(
            "store", "idle_timeout", \.store.idleTimeout, .seconds(1)...(.seconds(3600)),
            "How long a request may go without a byte either way."),
        .duration(
            "store", "retry_deadline", \.store.retryDeadline, .seconds(1)...(.seconds(86400)),
            "How long a request that fails is tried again before an error is reported."),
    ]

    private static let keys: [Setting] = [
        .text(
            "keys", "key_file", \.keys.keyFile, example: "/etc/zerofs/zerofs.key",
            "The key that opens the store (mode 0600). Without it the data is lost: keep a copy elsewhere."),
        .text(
            "keys", "passphrase_file", \.keys.passphraseFile, example: "/etc/zerofs/passphrase",
            "A file with a passphrase, for a store that was made with one; instead of key_file."),
        .truth(
            "keys", "core_dumps", \.keys.allowsCoreDumps,
            "Allow core dumps and debuggers. What a dump shows may hold data, credentials and keys of objects."),
    ]

    private static let data: [Setting] = [
        .required(
            "data", "directory", \.data.directory,
            "Journals, disk cache, control socket. On a local disk; what is in it is part of the data until uploaded."),
        .truth(
            "data", "journal", \.data.isJournaled,
            "Every write through the journal first, so that a killed server loses nothing it has answered."),
        .size(
            "data", "journal_size", \.data.journalBytes, (128 << 20)...(1 << 40), multipleOf: 64 << 20,
            "Local disk for the journal of each open volume; when it is full, writes wait for uploads."),
        .size(
            "data", "disk_cache_size", \.data.diskCacheBytes, 0...(1 << 50),
            "Local disk for blocks that were read from the store, still encrypted; 0 turns it off."),
    ]

    private static let cache: [Setting] = [
        .size("cache", "memory_size", \.cache.memoryBytes, (1 << 20)...(1 << 45), "Memory for blocks that were read."),
        .size("cache", "map_size", \.cache.mapBytes, (1 << 20)...(1 << 45), "Memory for pages of block maps."),
    ]

    private static let write: [Setting] = [
        .size(
            "write", "buffer_size", \.write.bufferBytes, (32 << 20)...(1 << 45),
            "Memory for each open volume's data on its way to the store; when it is full, writes wait."),
        .count("write", "uploads", \.write.uploads, 1...256, "Segments that are uploaded at once."),
        .duration(
            "write", "upload_delay", \.write.uploadDelay, .milliseconds(10)...(.seconds(3600)),
            "How long written data may stay local when nobody flushes; in \"journal\" mode, what a lost disk costs."),
        .count(
            "write", "flushes", \.write.flushes, 1...64,
            "Flushes of a volume on their way at once; more share the next."),
        .duration(
            "write", "store_deadline", \.write.storeDeadline, .zero...(.seconds(86400)),
            """
            How long a flush, a read, or a write without room waits for a store that does not answer before it fails; \
            "0s" waits for ever.
            """),
        .size(
            "write", "record_size", \.write.recordBytes,
            UInt64(blockBytes)...UInt64(Limits.recordBlocksMax * blockBytes), multipleOf: UInt64(blockBytes),
            "What is compressed and encrypted in one piece: small for random reads, large for compression."),
        .count(
            "write", "compression_level", \.write.compressionLevel, 0...19,
            "zstd level for new data that is worth it; 0 stores everything as it is."),
    ]

    private static let nbd: [Setting] = [
        .texts(
            "nbd", "listen", \.nbd.listen, example: [ZerofsConfiguration.NBD.listenDefault],
            """
            TCP addresses for NBD clients; without it this default, or none where a socket is named. Keep it local, or \
            set tls.mode.
            """),
        .text(
            "nbd", "socket", \.nbd.socket, example: "/run/zerofs/nbd.sock",
            "A unix socket for NBD clients of this machine, which is faster than TCP."),
        .choice(
            "nbd", "after_crash", \.nbd.afterCrash,
            """
            Who is served a volume that lost writes which it had answered, before `zerofs accept`: "local" (clients of \
            this machine, if it was started anew), "refuse" (nobody), or "serve" (everybody).
            """),
    ]

    private static let tls: [Setting] = [
        .choice(
            "tls", "mode", \.tls.mode,
            "\"off\", \"on\" (the client chooses), or \"required\": then nothing is answered before the upgrade."),
        .text(
            "tls", "certificate_file", \.tls.certificateFile, example: "/etc/zerofs/tls/server.pem",
            "The server's certificate, then those that lead to its authority (PEM)."),
        .text(
            "tls", "key_file", \.tls.keyFile, example: "/etc/zerofs/tls/server.key",
            "The certificate's key (PEM, mode 0600, not encrypted)."),
        .text(
            "tls", "ca_file", \.tls.caFile, example: "/etc/zerofs/tls/clients-ca.pem",
            "Authorities of clients (PEM). Set, a client needs a certificate of theirs, or a pre-shared key."),
        .text(
            "tls", "crl_file", \.tls.crlFile, example: "/etc/zerofs/tls/revoked.pem",
            "Revocation lists of these authorities (PEM); one for each of them must be there, and current."),
        .text(
            "tls", "psk_file", \.tls.pskFile, example: "/etc/zerofs/tls/clients.psk",
            """
            Pre-shared keys, a line USER:HEXKEY each, as psktool makes them (mode 0600). Set, a client needs one of \
            them, or a certificate.
            """),
        .truth(
            "tls", "exempt_socket", \.tls.exemptsSocket,
            """
            Serve clients of the unix socket without TLS although the mode is "required": the socket's mode is 0600, \
            and nobody is on the way.
            """),
    ]

    private static let control: [Setting] = [
        .text(
            "control", "socket", \.control.socket, example: "/run/zerofs/control.sock",
            """
            The unix socket on which the server takes commands (mode 0600); control.sock in the data directory unless \
            set.
            """),
        .text(
            "control", "listen", \.control.listen, example: "127.0.0.1:10810",
            "A TCP address for /healthz, /metrics and commands as well. It has no passwords: keep it local."),
    ]

    private static let gc: [Setting] = [
        .duration(
            "gc", "retention", \.retention, .zero...(.seconds(3650 * 86400)),
            "How long earlier states of volumes are kept although no snapshot names them.")
    ]
}
