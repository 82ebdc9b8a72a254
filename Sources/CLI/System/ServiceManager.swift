import Glibc
import NBD

/// Tells systemd how the server is, as sd_notify(3) does: a datagram to the socket that $NOTIFY_SOCKET names. Without
/// one it does nothing, and a manager that does not listen is no reason to stop.
enum ServiceManager {
    /// The sockets that it listens on for us, as sd_listen_fds(3) does: from descriptor 3 on. Taken once: the
    /// variables go, so that no child believes that they are meant for it.
    static func takeSockets() -> [NBDAddress] {
        defer { for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsetenv(name) } }
        guard let process = environment("LISTEN_PID"), pid_t(process) == getpid(),
            let count = environment("LISTEN_FDS").flatMap({ Int32($0) }), (1...64).contains(count)
        else { return [] }
        return (3..<3 + count).map { .inherited(descriptor: $0) }
    }

    static func notify(_ message: String) {
        guard let path = environment("NOTIFY_SOCKET"), path.hasPrefix("/") || path.hasPrefix("@") else { return }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let name = Array(path.utf8)
        guard name.count < MemoryLayout.size(ofValue: address.sun_path) else { return }
        withUnsafeMutableBytes(of: &address.sun_path) { field in
            field.copyBytes(from: name)
            // An abstract socket's name begins with a zero byte.
            if path.hasPrefix("@") { field[0] = 0 }
        }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + name.count)
        _ = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                sendto(descriptor, message, message.utf8.count, Int32(MSG_NOSIGNAL), address, length)
            }
        }
    }
}
