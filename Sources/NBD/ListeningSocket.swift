import Glibc
import StoreCore

/// Makes sockets that listen.
enum ListeningSocket {
    private static let backlog: Int32 = 1024

    // MARK: TCP

    static func tcp(_ host: String, _ port: UInt16) throws(StorageError) -> (Int32, NBDAddress) {
        var hints = addrinfo()
        hints.ai_flags = AI_PASSIVE
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, String(port), &hints, &list)
        guard code == 0 else {
            throw StorageError(
                .invalid, "\(host) is not an address to listen on: \(String(cString: gai_strerror(code)))")
        }
        defer { freeaddrinfo(list) }
        var failure = StorageError(.invalid, "\(host) has no address to listen on")
        var next = list
        while let entry = next?.pointee {
            do throws(StorageError) { return try tcp(entry, host) } catch { failure = error }
            next = entry.ai_next
        }
        throw failure
    }

    private static func tcp(_ entry: addrinfo, _ host: String) throws(StorageError) -> (Int32, NBDAddress) {
        let descriptor = socket(entry.ai_family, entry.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), entry.ai_protocol)
        guard descriptor >= 0 else { throw SystemCall.failure("making a socket") }
        var yes: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size))
        guard bind(descriptor, entry.ai_addr, entry.ai_addrlen) == 0, listen(descriptor, backlog) == 0 else {
            let code = errno
            close(descriptor)
            throw StorageError(
                code == EADDRINUSE ? .busy : .invalid, "cannot listen on \(host): \(SystemCall.text(code))")
        }
        return (descriptor, .tcp(host: host, port: SocketName.port(descriptor)))
    }

    /// A socket that somebody else made.
    static func adopt(_ descriptor: Int32) throws(StorageError) -> Int32 {
        var isListening: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &isListening, &length) == 0, isListening != 0 else {
            throw StorageError(.invalid, "descriptor \(descriptor) is no socket that listens")
        }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        return descriptor
    }

    // MARK: Unix

    static func unix(_ path: String, _ mode: UInt32?) throws(StorageError) -> Int32 {
        var address = try SocketName.unix(path)
        try removeStale(path, &address)
        let descriptor = try stream()
        guard withAddress(&address, { bind(descriptor, $0, $1) }) == 0, mode.map({ chmod(path, $0) }) ?? 0 == 0,
            listen(descriptor, backlog) == 0
        else {
            let code = errno
            close(descriptor)
            throw StorageError(
                code == EADDRINUSE ? .busy : .invalid, "cannot listen on \(path): \(SystemCall.text(code))")
        }
        return descriptor
    }

    /// A socket file that nobody answers is left over from a server that died. Anything else stays where it is.
    private static func removeStale(_ path: String, _ address: inout sockaddr_un) throws(StorageError) {
        var status = stat()
        guard lstat(path, &status) == 0 else { return }
        guard status.st_mode & S_IFMT == S_IFSOCK else {
            throw StorageError(.alreadyExists, "\(path) exists and is not a socket")
        }
        let probe = try stream()
        defer { close(probe) }
        let code = withAddress(&address) { connect(probe, $0, $1) } == 0 ? 0 : errno
        guard code == ECONNREFUSED else {
            throw StorageError(
                code == 0 ? .busy : .denied,
                code == 0 ? "another server listens on \(path)" : "cannot use \(path): \(SystemCall.text(code))")
        }
        unlink(path)
    }

    private static func stream() throws(StorageError) -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SystemCall.failure("making a socket") }
        return descriptor
    }

    private static func withAddress(
        _ address: inout sockaddr_un, _ body: (UnsafePointer<sockaddr>?, socklen_t) -> Int32
    ) -> Int32 {
        withUnsafeBytes(of: &address) {
            body($0.baseAddress?.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
        }
    }

    /// What tells a file from another of the same name.
    static func identity(_ path: String) -> (device: dev_t, inode: ino_t)? {
        var status = stat()
        return lstat(path, &status) == 0 ? (status.st_dev, status.st_ino) : nil
    }
}

/// Socket addresses from and to text.
enum SocketName {
    static func unix(_ path: String) throws(StorageError) -> sockaddr_un {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        let fits = withUnsafeMutableBytes(of: &address.sun_path) { target in
            guard !bytes.isEmpty, bytes.count < target.count else { return false }
            target.copyBytes(from: bytes)
            return true
        }
        guard fits else { throw StorageError(.invalid, "a socket's path has 1 to 107 bytes: \(path)") }
        return address
    }

    static func port(_ descriptor: Int32) -> UInt16 {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutableBytes(of: &storage) { bytes in
            guard let base = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self),
                getsockname(descriptor, base, &length) == 0
            else { return 0 }
            return UInt16(numeric(base, length).port) ?? 0
        }
    }

    static func numeric(_ address: UnsafePointer<sockaddr>, _ length: socklen_t) -> (host: String, port: String) {
        var host = [CChar](repeating: 0, count: 64)
        var port = [CChar](repeating: 0, count: 8)
        let code = getnameinfo(
            address, length, &host, socklen_t(host.count), &port, socklen_t(port.count),
            Int32(NI_NUMERICHOST) | Int32(NI_NUMERICSERV))
        guard code == 0 else { return ("unknown", "0") }
        func text(_ characters: [CChar]) -> String {
            String(decoding: characters.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        }
        return (text(host), text(port))
    }
}
