import NBD
import StoreCore
import TLS
import Testing

@Suite(.serialized) struct ClientsProveWhoTheyAre {
    private func expect(
        _ files: (Credentials) -> TLSFiles, _ script: String, log: String,
        _ location: SourceLocation = #_sourceLocation
    ) async throws {
        let credentials = try await Credentials.shared.value
        try await Served.with(files(credentials)) { served in
            let ran = try await served.python(credentials, script)
            #expect(ran.status == 0 && ran.text.isEmpty, "\(ran.text)", sourceLocation: location)
            #expect(served.log.text.contains(log), "\(served.log.text)", sourceLocation: location)
        }
    }
    private let mustFail = """
        try:
            kind = served(%)
        except (ssl.SSLError, ConnectionError, EOFError, OSError):
            pass
        else:
            raise Exception('served')
        """
    private func failing(_ options: String) -> String { mustFail.replacing("%", with: options) }

    @Test(arguments: ["TLSv1_2", "TLSv1_3"]) func byCertificates(version: String) async throws {
        try await expect(
            \.careful, "assert served(version=ssl.TLSVersion.\(version)) == 2", log: "cert:db1.example.com,db1, TLSv1.")
    }
    @Test func byNothingWhereNobodyAsks() async throws {
        try await expect(\.server, "assert served(cert=None) == 2", log: "anonymous")
    }
    @Test(arguments: ["TLSv1_2", "TLSv1_3"]) func andNobodyElseIsServed(version: String) async throws {
        for certificate in ["None", "'stranger'", "'expired'", "'selfmade'", "'purpose'"] {
            try await expect(
                \.careful, failing("cert=\(certificate), version=ssl.TLSVersion.\(version)"), log: "warning: TLS with")
        }
    }
    @Test func aServerWithKeysAsksForThem() async throws {
        let keysAlone = { (credentials: Credentials) in
            var files = credentials.server
            files.preSharedKeys = credentials.path("clients.psk")
            return files
        }
        try await expect(keysAlone, failing("cert=None"), log: "the client did not say who it is")
        try await expect(keysAlone, failing("cert='db1'"), log: "the client did not say who it is")
    }
    @Test func refusalsSayWhy() async throws {
        try await expect(\.careful, failing("cert='expired'"), log: "certificate has expired")
        try await expect(\.careful, failing("cert='stranger'"), log: "unable to get local issuer certificate")
    }
    @Test func revokedCertificatesAreRefused() async throws {
        let withList = { (credentials: Credentials) in
            var files = credentials.careful
            files.revocations = credentials.path("crl.pem")
            return files
        }
        try await expect(\.careful, "assert served(cert='revoked') == 2", log: "cert:revoked")
        try await expect(withList, failing("cert='revoked'"), log: "certificate revoked")
        try await expect(withList, "assert served() == 2", log: "cert:db1")
    }
    @Test func theServerProvesItselfToo() async throws {
        try await expect(\.careful, failing("verify='other.pem'"), log: "warning: TLS with")
    }
    @Test func oldVersionsAreRefused() async throws {
        let script = "import warnings; warnings.simplefilter('ignore')\n" + failing("version=ssl.TLSVersion.TLSv1_1")
        try await expect(\.careful, script, log: "warning: TLS with")
    }

    // MARK: Pre-shared keys

    @Test(arguments: [2, 3]) func byPreSharedKeys(minor: Int) async throws {
        let credentials = try await Credentials.shared.value
        for files in [credentials.careful, TLSFiles(preSharedKeys: credentials.path("clients.psk"))] {
            try await Served.with(files) { served in
                for (keys, user, works) in [
                    ("clients", "db1", true), ("clients", "db2", true), ("wrong", "db1", false),
                    ("wrong", "nobody", false),
                ] {
                    let ran = try await libnbd(served, credentials, keys, user, minor)
                    #expect((ran.status == 0) == works, "\(keys) \(user): \(ran.text)")
                    if works { #expect(served.log.text.contains("psk:\(user), TLSv1.\(minor)")) }
                }
            }
        }
    }
    /// libnbd speaks TLS by GnuTLS, as most NBD clients do.
    private func libnbd(
        _ served: Served, _ credentials: Credentials, _ keys: String, _ user: String, _ minor: Int
    ) async throws -> Ran {
        try await Ran.program(
            "/usr/bin/python3",
            [
                "-c",
                """
                import os
                \(minor == 3 ? "" : "os.environ['GNUTLS_SYSTEM_PRIORITY_FILE'] = '\(credentials.path("tls12"))'")
                import nbd
                h = nbd.NBD()
                h.set_tls(nbd.TLS_REQUIRE)
                h.set_tls_psk_file('\(credentials.path("\(keys).psk"))')
                h.set_tls_username('\(user)')
                h.set_export_name('disk')
                h.connect_tcp('127.0.0.1', '\(served.port)')
                h.pwrite(b'x' * 4096, 8192)
                assert h.pread(4096, 8192) == b'x' * 4096
                h.shutdown()
                """,
            ])
    }
}
