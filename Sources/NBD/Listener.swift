import Glibc
import StoreCore
import Synchronization

/// A listening socket and the thread that accepts on it.
final class Listener: Sendable {
    /// As bound: with the port that was chosen.
    let address: NBDAddress
    /// It does not block: the thread polls it together with the pipe that ends it.
    private let descriptor: Int32
    /// Somebody else's is our successor's too: it goes on to listen when we stop, and its clients wait.
    private let isOurs: Bool
    /// The socket file as we made it, so that a successor's is not removed.
    private let file: (path: String, device: dev_t, inode: ino_t)?
    private let isStopped = Atomic(false)
    private let stopping: WakePipe

    init(_ address: NBDAddress) throws(StorageError) {
        stopping = try WakePipe()
        switch address {
        case .tcp(let host, let port):
            (descriptor, self.address) = try ListeningSocket.tcp(host, port)
            (isOurs, file) = (true, nil)
        case .unix(let path, let mode):
            descriptor = try ListeningSocket.unix(path, mode)
            self.address = address
            file = ListeningSocket.identity(path).map { (path, $0.device, $0.inode) }
            isOurs = true
        case .inherited(let inherited):
            descriptor = try ListeningSocket.adopt(inherited)
            self.address = address
            // Its file belongs to who made it.
            (isOurs, file) = (false, nil)
        }
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }
    deinit { close(descriptor) }

    /// Accepts on a thread of its own until `stop`. The thread holds the listener, and with it the descriptor.
    func start(_ accepted: @escaping @Sendable (SocketTransport) -> Void) throws(StorageError) {
        try DedicatedThread.run("nbd-accept") { [self] in accept(accepted) }
    }

    /// Ends accepting and removes the socket file. Clients that wait to be accepted are reported still, and so is one
    /// that is accepted in this moment; those of an inherited socket are left to our successor.
    func stop() {
        if isOurs { shutdown(descriptor, Int32(SHUT_RDWR)) }
        isStopped.store(true, ordering: .sequentiallyConsistent)
        stopping.wake()
        if let file, let now = ListeningSocket.identity(file.path), now == (file.device, file.inode) {
            unlink(file.path)
        }
    }

    private func accept(_ accepted: @Sendable (SocketTransport) -> Void) {
        while true {
            stopping.waitUntilReadable(or: descriptor)
            let isOver = isStopped.load(ordering: .sequentiallyConsistent)
            if isOver, !isOurs { return }
            let client = Glibc.accept(descriptor, nil, nil)
            if client >= 0 {
                _ = fcntl(client, F_SETFD, FD_CLOEXEC)
                accepted(SocketTransport(owning: client, peer: PeerSocket.prepare(client)))
            } else if isOver || errno == EINVAL || errno == EBADF {
                return
            } else if errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS {
                // Clients wait in the backlog until a descriptor is free.
                usleep(50_000)
            }
        }
    }
}

/// An accepted socket's options and name.
enum PeerSocket {
    static let bufferBytes: Int32 = 1 << 20

    /// Sets what a block server wants, and returns the peer for people.
    static func prepare(_ descriptor: Int32) -> String {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let family = withUnsafeMutableBytes(of: &storage) { bytes -> Int32 in
            guard let base = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self),
                getsockname(descriptor, base, &length) == 0
            else { return AF_UNSPEC }
            return Int32(base.pointee.sa_family)
        }
        guard family == AF_INET || family == AF_INET6 else {
            set(descriptor, SOL_SOCKET, SO_SNDBUF, bufferBytes)
            return "unix"
        }
        set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
        set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPIDLE, 60)
        set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPINTVL, 15)
        set(descriptor, Int32(IPPROTO_TCP), TCP_KEEPCNT, 4)
        return remoteName(descriptor)
    }

    /// The kernel's word for who connected to a unix socket.
    static func origin(_ descriptor: Int32) -> PeerOrigin {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let family = withUnsafeMutableBytes(of: &storage) { bytes -> Int32 in
            guard let base = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self),
                getsockname(descriptor, base, &length) == 0
            else { return AF_UNSPEC }
            return Int32(base.pointee.sa_family)
        }
        guard family == AF_UNIX else { return .remote }
        // struct ucred: process, user and group.
        var credentials: (UInt32, UInt32, UInt32) = (0, 0, 0)
        length = socklen_t(MemoryLayout.size(ofValue: credentials))
        let isKnown = getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0
        return .local(userID: isKnown ? credentials.1 : nil)
    }

    /// These options tune; without them a connection still works.
    private static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
        var value = value
        setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    private static func remoteName(_ descriptor: Int32) -> String {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutableBytes(of: &storage) { bytes in
            guard let base = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self),
                getpeername(descriptor, base, &length) == 0
            else { return "tcp" }
            let (host, port) = SocketName.numeric(base, length)
            return host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        }
    }
}
