import NBD
import StoreCore
import TLS
import Testing

@Suite(.serialized) struct WhoeverIsOnTheWayGetsNothing {
    private func run(
        demand: NBDSecurity.Demand = .required, handshake: Duration = .seconds(20), log: String? = nil,
        _ script: String, _ location: SourceLocation = #_sourceLocation
    ) async throws {
        let credentials = try await Credentials.shared.value
        try await Served.with(credentials.careful, demand: demand, handshake: handshake) { served in
            let ran = try await served.python(credentials, script)
            #expect(ran.status == 0 && ran.text.isEmpty, "\(ran.text)", sourceLocation: location)
            if let log { #expect(served.log.text.contains(log), "\(served.log.text)", sourceLocation: location) }
            // Whatever was done to it, it serves the next client.
            let next = try await served.python(credentials, "assert served() == 2")
            #expect(next.status == 0, "\(next.text)", sourceLocation: location)
        }
    }

    @Test func nothingIsToldBeforeTheUpgrade() async throws {
        try await run(
            """
            s = connect()
            for code in (3, 6, 7, 8, 9, 10, 11, 77):
                kind, data = option(s, code, struct.pack('>I', 4) + b'disk' + bytes(2))
                assert kind == 0x80000005, (code, hex(kind))
                assert b'disk' not in data
            send_option(s, 1, b'disk')
            assert ended(s)
            """)
    }
    @Test func bytesBehindSTARTTLSEndTheSession() async throws {
        try await run(
            log: "it sent bytes behind STARTTLS",
            """
            for extra in (b'IHAVEOPT' + struct.pack('>II', 3, 0), b'x', context().wrap_bio(ssl.MemoryBIO(),
                    ssl.MemoryBIO(), server_hostname='localhost') and bytes(100)):
                s = connect()
                s.sendall(b'IHAVEOPT' + struct.pack('>II', 5, 0) + extra)
                try:
                    assert s.recv(1) == b''
                except ConnectionResetError:
                    pass
            """)
    }
    /// CVE-2021-3716: somebody on the way negotiates in the client's name before STARTTLS, and the client, who knows
    /// nothing of it, is then spoken to in a way that it did not choose.
    @Test func whatWasNegotiatedBeforeTheUpgradeDoesNotCount() async throws {
        try await run(
            demand: .offered,
            """
            def go(s):
                send_option(s, 7, struct.pack('>I', 4) + b'disk' + bytes(2))
                while (kind := reply(s)[0]) != 1: assert kind == 3, hex(kind)
            def first_of_read(s):
                s.sendall(struct.pack('>IHHQQI', 0x25609513, 0, 0, 77, 0, 512))
                return struct.unpack('>I', exactly(s, 4))[0]
            context_query = struct.pack('>I', 4) + b'disk' + struct.pack('>II', 1, 15) + b'base:allocation'
            # Without TLS in between it counts.
            s = connect()
            assert option(s, 8) == (1, b'')
            go(s)
            assert first_of_read(s) == 0x668e33ef
            for injected in ([(8, b'')], [(8, b''), (10, context_query)], [(11, b''), (10, context_query)]):
                s = connect()
                for code, data in injected:
                    send_option(s, code, data)
                    while reply(s)[0] != 1: pass
                assert option(s, 5) == (1, b'')
                s = context().wrap_socket(s, server_hostname='localhost')
                go(s)
                assert first_of_read(s) == 0x67446698
                exactly(s, 12 + 512)
                s.sendall(struct.pack('>IHHQQI', 0x25609513, 0, 7, 78, 0, 4096))
                assert exactly(s, 16) == struct.pack('>IIQ', 0x67446698, 22, 78)
            """)
    }
    /// Whatever way the bytes come in, in one piece with STARTTLS, cut in its midst, or a moment later.
    @Test(arguments: [NBDSecurity.Demand.offered, .required])
    func plainBytesAroundSTARTTLSAreNeverTakenForProtectedOnes(demand: NBDSecurity.Demand) async throws {
        try await run(
            demand: demand, log: "warning: TLS with",
            """
            upgrade = b'IHAVEOPT' + struct.pack('>II', 5, 0)
            listing = b'IHAVEOPT' + struct.pack('>II', 3, 0)
            def told(cut, pause, extra):
                # What an innocent client hears whose STARTTLS somebody sent with more behind it.
                s = connect()
                data = upgrade + extra
                got = b''
                try:
                    for part in (data[:cut], data[cut:]):
                        if part: s.sendall(part)
                        time.sleep(pause)
                    got = exactly(s, 20)
                    s = context().wrap_socket(s, server_hostname='localhost')
                    s.settimeout(1)
                    while part := s.recv(65536): got += part
                except (OSError, EOFError): pass
                return got
            for cut in (0, 1, 15, 16, 17, 31, 32):
                for pause in (0, 0.02):
                    for extra in (listing, listing + upgrade, upgrade + listing, listing * 200):
                        got = told(cut, pause, extra)
                        assert got in (b'', struct.pack('>QIII', 0x3e889045565a9, 5, 1, 0)), (cut, got)
            """)
    }
    @Test(arguments: [NBDSecurity.Demand.offered, .required])
    func plainOptionsInsteadOfAHandshakeAreNotServed(demand: NBDSecurity.Demand) async throws {
        try await run(
            demand: demand, log: "warning: TLS with",
            """
            s = connect()
            assert option(s, 5) == (1, b'')
            send_option(s, 3)
            got = b''
            try:
                while part := s.recv(65536): got += part
            except ConnectionResetError: pass
            assert b'disk' not in got and len(got) < 20, got
            """)
    }
    @Test func garbageEndsTheSession() async throws {
        try await run(
            log: "warning: TLS with",
            """
            import random
            noise = random.Random(7)
            for round in range(60):
                s = connect()
                assert option(s, 5) == (1, b'')
                data = noise.randbytes(noise.choice([1, 5, 100, 20000]))
                if round % 2: data = b'\\x16\\x03\\x01' + struct.pack('>H', min(len(data), 16000)) + data
                try:
                    s.sendall(data)
                    s.shutdown(socket.SHUT_WR)
                except OSError: pass
                assert ended(s)
            """)
    }
    @Test func changedRecordsEndTheSession() async throws {
        try await run(
            """
            import threading
            def through(flip):
                # A man in the middle who flips a bit of what the client sends after so many bytes.
                listener = socket.create_server(('127.0.0.1', 0))
                def pump(a, b, count):
                    try:
                        while part := bytearray(a.recv(65536)):
                            if count is not None and 0 <= count < len(part): part[count] ^= 1
                            if count is not None: count -= len(part)
                            b.sendall(part)
                    except OSError: pass
                    for x in (a, b):
                        try: x.shutdown(socket.SHUT_RDWR)
                        except OSError: pass
                def middle():
                    a, _ = listener.accept()
                    b = socket.create_connection(('127.0.0.1', server))
                    threading.Thread(target=pump, args=(b, a, None)).start()
                    pump(a, b, flip)
                threading.Thread(target=middle, daemon=True).start()
                return listener.getsockname()[1]
            server = port
            served_bytes = 0
            for flip in (60, 300, 700, 1500, 1700, None):
                port = through(flip)
                try:
                    s = secured()
                    kind, data = option(s, 8)
                    option(s, 7, struct.pack('>I', 4) + b'disk' + bytes(2))
                    exactly(s, 20)
                    for n in range(40):
                        s.sendall(struct.pack('>IHHQQI', 0x25609513, 0, 3, n, 0, 0))
                        exactly(s, 16)
                except (ssl.SSLError, OSError, EOFError, AssertionError):
                    assert flip is not None
                else:
                    assert flip is None, flip
            """)
    }
    @Test func aCutStreamIsNoMessage() async throws {
        try await run(
            """
            s = secured()
            s.sendall(b'IHAVEOPT' + struct.pack('>II', 7, 100) + b'half')
            s.unwrap if False else s.shutdown(socket.SHUT_WR)
            assert ended(s)
            """)
    }
    @Test func slowHandshakesAreCutOff() async throws {
        try await run(
            handshake: .seconds(2), log: "the TLS handshake took too long",
            """
            began = time.monotonic()
            silent, dribbling = connect(), connect()
            for s in (silent, dribbling): assert option(s, 5) == (1, b'')
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            hello = context().wrap_bio(incoming, outgoing, server_hostname='localhost')
            try: hello.do_handshake()
            except ssl.SSLWantReadError: pass
            data = outgoing.read()
            try:
                for byte in data:
                    dribbling.sendall(bytes([byte]))
                    time.sleep(0.05)
            except OSError: pass
            assert ended(silent) and ended(dribbling)
            assert time.monotonic() - began < 8, time.monotonic() - began
            """)
    }
    @Test func slowOptionsWithinTLSAreCutOff() async throws {
        try await run(
            handshake: .seconds(2),
            """
            s = secured()
            began = time.monotonic()
            try:
                for byte in b'IHAVEOPT' * 100:
                    s.sendall(bytes([byte]))
                    time.sleep(0.05)
            except OSError: pass
            assert ended(s)
            assert time.monotonic() - began < 8
            """)
    }
    /// openssl's client, which can be told to do odd things, behind a relay that has asked for the upgrade.
    private func openSSL(_ version: String, _ lines: String, _ check: String) async throws {
        let credentials = try await Credentials.shared.value
        try await Served.with(credentials.careful) { served in
            let ran = try await served.python(
                credentials,
                """
                import subprocess, threading
                listener = socket.create_server(('127.0.0.1', 0))
                def middle():
                    a, _ = listener.accept()
                    b = connect()
                    assert option(b, 5) == (1, b'')
                    def pump(x, y):
                        try:
                            while part := x.recv(65536): y.sendall(part)
                        except OSError: pass
                        try: y.shutdown(socket.SHUT_WR)
                        except OSError: pass
                    threading.Thread(target=pump, args=(b, a), daemon=True).start()
                    pump(a, b)
                threading.Thread(target=middle, daemon=True).start()
                p = subprocess.Popen(['openssl', 's_client', '-\(version)', '-connect',
                    '127.0.0.1:%d' % listener.getsockname()[1], '-cert', home + '/db1.pem', '-key', home + '/db1.key',
                    '-CAfile', home + '/ca.pem'], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT)
                time.sleep(1)
                for line in \(lines):
                    p.stdin.write(line); p.stdin.flush()
                    time.sleep(0.7)
                p.stdin.close()
                text = p.stdout.read().decode(errors='replace')
                p.wait(10)
                assert \(check), text[-1500:]
                """)
            #expect(ran.status == 0, "\(ran.text)")
        }
    }
    @Test func renegotiationIsRefused() async throws {
        try await openSSL("tls1_2", "[b'R\\n']", "'RENEGOTIATING' in text and text.count('Server certificate') == 1")
    }
    @Test func newKeysAreTakenInTheMidst() async throws {
        let list = "b'IHAVEOPT' + struct.pack('>II', 3, 0)"
        try await openSSL(
            "tls1_3", "[b'K\\n', \(list), b'K\\n', \(list)]", "'KEYUPDATE' in text and text.count('disk') == 2")
    }
    @Test func aThousandRefusalsAreTwentyLines() async throws {
        let lines = LogLines()
        let log = RefusalLog(.clientRefused, lines.logger)
        for number in 1...1000 { log.note("refusal \(number)") }
        #expect(lines.text.split(separator: "\n").count == 20)
    }
    @Test func whatAClientMadeUpStaysInItsLine() {
        let lines = LogLines()
        let made = "'a\nerror zerofs: fenced\u{1b}[2J\u{2028}\u{202e}'" + String(repeating: "x", count: 5000)
        RefusalLog(.accessDenied, lines.logger).note("asked for \(made)")
        #expect(lines.text.hasPrefix("warning: asked for 'a?error zerofs: fenced?[2J??'xxx"))
        #expect(lines.text.count < 450)
    }
}

@Suite(.serialized) struct SecuredStreams {
    @Test func carryWhatPlainOnesDo() async throws {
        let credentials = try await Credentials.shared.value
        try await Served.with(credentials.careful) { served in
            // Many requests under way, large and small, written and read at once over four connections.
            let ran = try await served.python(
                credentials,
                """
                import nbd, os, random
                handles = []
                for n in range(4):
                    h = nbd.NBD()
                    h.set_tls(nbd.TLS_REQUIRE)
                    h.set_tls_username('db1'); h.set_tls_psk_file(home + '/clients.psk')
                    h.set_export_name('disk')
                    h.connect_tcp('127.0.0.1', str(port))
                    handles.append(h)
                noise = random.Random(3)
                area = 1 << 20
                expected = [bytearray(area) for _ in handles]
                for round in range(40):
                    pending, checks = [], []
                    for n, h in enumerate(handles):
                        taken = set()
                        for _ in range(12):
                            size = noise.choice([1, 512, 4096, 16384, 65536, 200000])
                            at = noise.randrange(area - size)
                            blocks = set(range(at // 512, (at + size) // 512 + 1))
                            if blocks & taken: continue
                            taken |= blocks
                            buffer = nbd.Buffer.from_bytearray(bytearray(size))
                            if noise.random() < 0.5:
                                data = noise.randbytes(size)
                                expected[n][at:at + size] = data
                                buffer = nbd.Buffer.from_bytearray(bytearray(data))
                                pending.append((h, h.aio_pwrite(buffer, n * area + at), buffer))
                            else:
                                want = bytes(expected[n][at:at + size])
                                checks.append((buffer, want))
                                pending.append((h, h.aio_pread(buffer, n * area + at), buffer))
                    for h, cookie, _ in pending:
                        while not h.aio_command_completed(cookie): h.poll(10000)
                    for buffer, want in checks: assert bytes(buffer.to_bytearray()) == want
                for n, h in enumerate(handles):
                    assert h.pread(area, n * area) == bytes(expected[n])
                    h.shutdown()
                """)
            #expect(ran.status == 0, "\(ran.text)")
        }
    }

    /// What a client does not take waits in the server, encrypted, and nothing is lost or sent twice.
    @Test func repliesThatAreNotTakenWait() async throws {
        let credentials = try await Credentials.shared.value
        try await Served.with(credentials.careful) { served in
            let ran = try await served.python(
                credentials,
                """
                s = secured()
                option(s, 7, struct.pack('>I', 4) + b'disk' + bytes(2))
                exactly(s, 20 + 14); exactly(s, 20)
                pattern = bytes(range(256)) * 1024
                for n in range(16):
                    s.sendall(struct.pack('>IHHQQI', 0x25609513, 0, 1, n, n << 18, len(pattern)) + pattern)
                    assert exactly(s, 16)[8:] == struct.pack('>Q', n)
                for n in range(200):
                    s.sendall(struct.pack('>IHHQQI', 0x25609513, 0, 0, n, (n % 16) << 18, len(pattern)))
                time.sleep(1)
                seen = set()
                for n in range(200):
                    assert s.recv is not None
                    head = exactly(s, 16)
                    assert head[:8] == bytes.fromhex('6744669800000000'), head
                    seen.add(head[8:])
                    assert exactly(s, len(pattern)) == pattern, n
                assert len(seen) == 200
                """)
            #expect(ran.status == 0, "\(ran.text)")
        }
    }
}

@Suite(.serialized) struct FilesOfTLS {
    private func refused(_ change: (inout TLSFiles, Credentials) -> Void) async throws -> StorageError {
        let credentials = try await Credentials.shared.value
        var files = credentials.careful
        change(&files, credentials)
        return try #require(throws: StorageError.self) { try TLSSecurity(files, log: LogLines().logger) }
    }

    @Test func thatOthersMayReadAreRefused() async throws {
        let key = try await refused { $0.key = $1.path("stranger.key") }
        #expect(key.code == .denied && key.message.contains("chmod 600"), "\(key)")
        let keys = try await refused { $0.preSharedKeys = $1.path("open.psk") }
        #expect(keys.code == .denied && keys.message.contains("chmod 600"), "\(keys)")
    }
    @Test func thatAreNotWhatTheyShouldBeAreRefused() async throws {
        #expect(try await refused { $0.key = $1.path("none.key") }.code == .notFound)
        #expect(try await refused { $0.key = $1.path("db1.key") }.message.contains("mismatch"))
        let locked = try await refused { $0.key = $1.path("locked.key") }
        #expect(locked.code == .invalid && locked.message.contains("not encrypted"), "\(locked)")
        #expect(try await refused { $0.certificate = $1.path("clients.psk") }.code == .invalid)
        #expect(try await refused { $0.authorities = $1.path("clients.psk") }.code == .invalid)
        #expect(try await refused { $0.revocations = $1.path("ca.pem") }.code == .invalid)
        #expect(try await refused { files, credentials in files.key = credentials.home }.code == .invalid)
    }

    @Test func areReadAnewForNewClients() async throws {
        let credentials = try await Credentials.shared.value
        let home = credentials.path("reloaded")
        let made = try await Ran.program(
            "/bin/sh", ["-ec", "cd \(credentials.home); mkdir reloaded; cp server.pem server.key reloaded"])
        #expect(made.status == 0, "\(made.text)")
        try await Served.with(TLSFiles(certificate: home + "/server.pem", key: home + "/server.key")) { served in
            func subject() async throws -> String {
                try await served.python(
                    credentials, "print(dict(x[0] for x in secured(cert=None).getpeercert()['subject'])['commonName'])"
                ).text
            }
            #expect(try await subject() == "localhost\n")
            _ = try await Ran.program("/bin/sh", ["-ec", "cd \(credentials.home); cp server2.pem reloaded/server.pem"])
            #expect(throws: StorageError.self) { try served.tls.reload() }
            #expect(try await subject() == "localhost\n", "what cannot be used changes nothing")
            _ = try await Ran.program("/bin/sh", ["-ec", "cd \(credentials.home); cp server2.key reloaded/server.key"])
            try served.tls.reload()
            #expect(try await subject() == "localhost2\n")
        }
    }
}
