import Foundation
import Logging
import NBD
import StoreCore
import Synchronization
import TLS

/// A disk in memory.
final class MemoryDisk: BlockDevice {
    let name = "disk"
    let summary = "memory"
    let size: UInt64 = 4 << 20
    let isReadOnly = false
    private let bytes = Mutex([UInt8](repeating: 0, count: 4 << 20))

    func readNow(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws -> Bool {
        bytes.withLock { buffer.copyBytes(from: $0[Int(offset)..<Int(offset) + buffer.count]) }
        return true
    }
    func writeNow(at offset: UInt64, from source: UnsafeRawBufferPointer) throws -> Bool {
        bytes.withLock { $0.replaceSubrange(Int(offset)..<Int(offset) + source.count, with: source) }
        return true
    }
    func read(at offset: UInt64, into buffer: IOBuffer) async throws {
        buffer.withMutableBytes { target in
            bytes.withLock { target.copyBytes(from: $0[Int(offset)..<Int(offset) + target.count]) }
        }
    }
    func write(at offset: UInt64, from buffer: IOBuffer, fua: Bool) async throws {
        buffer.withBytes { source in
            bytes.withLock { $0.replaceSubrange(Int(offset)..<Int(offset) + source.count, with: source) }
        }
    }
    func flush() async throws {}
    func trim(at offset: UInt64, count: UInt64, fua: Bool) async throws {}
    func writeZeroes(at offset: UInt64, count: UInt64, fua: Bool) async throws {}
    func prefetch(at offset: UInt64, count: UInt64) async throws {}
    func status(at offset: UInt64, count: UInt64, extentsMax: Int) async throws -> [DeviceExtent] {
        [DeviceExtent(byteCount: count, isHole: false)]
    }
}

private struct OneDisk: DeviceDirectory {
    let disk = MemoryDisk()
    func exportNames() async throws -> [String] { [disk.name] }
    func describe(_ name: String) async throws -> DeviceDescription {
        DeviceDescription(name: disk.name, summary: "", size: disk.size, isReadOnly: false)
    }
    func attach(_ name: String) async throws -> any BlockDevice { disk }
    func detach(_ device: any BlockDevice) async {}
}

/// Keeps what is logged.
final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])
    var text: String { lines.withLock { $0.joined(separator: "\n") } }

    var logger: Logger {
        Logger(label: "test") { _ in Handler(lines: self) }
    }
    private struct Handler: LogHandler {
        let lines: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.debug
        init(lines: LogLines) { self.lines = lines }
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(event: LogEvent) { lines.lines.withLock { $0.append("\(event.level): \(event.message)") } }
    }
}

/// An NBD server with TLS, on a port of this machine.
struct Served {
    let server: NBDServer
    let tls: TLSSecurity
    let log: LogLines
    let port: UInt16

    static func with<R>(
        _ files: TLSFiles, demand: NBDSecurity.Demand = .required, handshake: Duration = .seconds(20),
        _ body: (Served) async throws -> R
    ) async throws -> R {
        let log = LogLines()
        let tls = try TLSSecurity(files, log: log.logger)
        var limits = NBDLimits()
        limits.handshakeDuration = handshake
        let server = NBDServer(
            OneDisk(), listeningOn: [.tcp(host: "127.0.0.1", port: 0)], limits: limits,
            security: NBDSecurity(tls, remote: demand, local: demand))
        guard case .tcp(_, let port) = try server.start()[0] else { throw StorageError(.invalid, "no port") }
        do {
            let result = try await body(Served(server: server, tls: tls, log: log, port: port))
            await server.stop(draining: .seconds(5))
            return result
        } catch {
            await server.stop(draining: .zero)
            throw error
        }
    }

    /// Runs a Python script that has `client.py` imported whole; `port` and `home` are set. What it prints.
    func python(_ credentials: Credentials, _ script: String) async throws -> Ran {
        let prelude = "port = \(port)\nhome = '\(credentials.home)'\n" + Self.client
        return try await Ran.program("/usr/bin/python3", ["-c", prelude + script])
    }

    /// Speaks the protocol byte by byte, so that it can break it.
    private static let client = """
        import socket, ssl, struct, time, errno
        def connect(timeout=10):
            s = socket.create_connection(('127.0.0.1', port), timeout)
            assert s.recv(18) == b'NBDMAGICIHAVEOPT\\x00\\x03'
            s.sendall(struct.pack('>I', 3))
            return s
        def exactly(s, count):
            data = b''
            while len(data) < count:
                part = s.recv(count - len(data))
                if not part: raise EOFError(data)
                data += part
            return data
        def send_option(s, code, data=b''):
            s.sendall(b'IHAVEOPT' + struct.pack('>II', code, len(data)) + data)
        def reply(s):
            magic, code, kind, length = struct.unpack('>QIII', exactly(s, 20))
            assert magic == 0x3e889045565a9
            return kind, exactly(s, length)
        def option(s, code, data=b''):
            send_option(s, code, data)
            return reply(s)
        def context(cert='db1', version=None, verify='ca.pem'):
            c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            c.load_verify_locations(home + '/' + verify)
            if cert: c.load_cert_chain(home + '/' + cert + '.pem', home + '/' + cert + '.key')
            if version: c.minimum_version = c.maximum_version = version
            return c
        def secured(**options):
            s = connect()
            assert option(s, 5) == (1, b'')
            return context(**options).wrap_socket(s, server_hostname='localhost')
        def ended(s):
            try:
                while s.recv(65536): pass
            except (ConnectionResetError, ssl.SSLError):
                pass
            except socket.timeout:
                return False
            return True
        def served(**options):
            s = secured(**options)
            kind, data = option(s, 3)
            return kind

        """
}

/// A program that has ended.
struct Ran {
    var status: Int32
    var text: String

    static func program(_ path: String, _ arguments: [String]) async throws -> Ran {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread {
                let process = Process()
                process.executableURL = URL(fileURLWithPath: path)
                process.arguments = arguments
                let pipe = Pipe()
                process.standardOutput = pipe
                process.standardError = pipe
                process.standardInput = FileHandle.nullDevice
                do { try process.run() } catch { return continuation.resume(throwing: error) }
                let data = pipe.fileHandleForReading.readDataToEndOfFile()
                process.waitUntilExit()
                continuation.resume(
                    returning: Ran(status: process.terminationStatus, text: String(decoding: data, as: UTF8.self)))
            }
        }
    }
}

/// Authorities, certificates and keys, made once for all tests.
struct Credentials {
    let home: String
    func path(_ name: String) -> String { "\(home)/\(name)" }

    var server: TLSFiles { TLSFiles(certificate: path("server.pem"), key: path("server.key")) }
    /// Clients of the first authority, or with a pre-shared key.
    var careful: TLSFiles {
        var files = server
        files.authorities = path("ca.pem")
        files.preSharedKeys = path("clients.psk")
        return files
    }

    static let shared = Task { () throws -> Credentials in
        let home = NSTemporaryDirectory() + "tls-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: home, withIntermediateDirectories: true)
        let made = try await Ran.program("/bin/sh", ["-ec", "cd '\(home)'\n" + script])
        guard made.status == 0 else { throw StorageError(.unavailable, "openssl: \(made.text)") }
        return Credentials(home: home)
    }

    private static let script = """
        new="-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
        authority() { openssl req -x509 $new -keyout $1.key -out $1.pem -days 30 -subj "/CN=$1"; }
        leaf() { # file authority subject days extension
            openssl req $new -keyout $1.key -out $1.csr -subj "$3"
            echo "$5" >$1.ext
            openssl x509 -req -in $1.csr -CA $2.pem -CAkey $2.key -CAcreateserial -out $1.pem -days $4 -extfile $1.ext
        }
        authority ca; authority other
        leaf server ca /CN=localhost 30 'subjectAltName=DNS:localhost'
        leaf server2 ca /CN=localhost2 30 'subjectAltName=DNS:localhost'
        leaf db1 ca /CN=db1 30 'subjectAltName=DNS:db1.example.com'
        leaf revoked ca /CN=revoked 30 'extendedKeyUsage=clientAuth'
        leaf expired ca /CN=expired -1 'extendedKeyUsage=clientAuth'
        leaf stranger other /CN=db1 30 'extendedKeyUsage=clientAuth'
        leaf purpose ca /CN=db1 30 'extendedKeyUsage=serverAuth'
        openssl req -x509 $new -keyout selfmade.key -out selfmade.pem -days 30 -subj /CN=db1
        openssl ec -in server.key -aes128 -passout pass:x -out locked.key
        touch index; echo 01 >number
        printf '[ca]\\ndefault_ca=a\\n[a]\\ndatabase=index\\ncrlnumber=number\\ndefault_md=sha256\\n' >ca.cnf
        openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -revoke revoked.pem
        openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -gencrl -crldays 30 -out crl.pem
        printf 'db1:%s\\ndb2:%s\\n' $(openssl rand -hex 32) $(openssl rand -hex 32) >clients.psk
        printf 'db1:%s\\nnobody:%s\\n' $(openssl rand -hex 32) $(openssl rand -hex 32) >wrong.psk
        printf '[overrides]\ndisabled-version = tls1.3\n' >tls12
        chmod 600 *.key *.psk; chmod 644 stranger.key; cp clients.psk open.psk; chmod 640 open.psk
        """
}
