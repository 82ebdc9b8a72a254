import Glibc
import StoreCore

/// Unix socket addresses hold 107 bytes. A longer path is reached through its directory's descriptor in /proc.
final class SocketPath: Sendable {
    /// What to bind or connect to, as long as this object lives.
    let address: String
    private let directory: Int32?

    static let bytesMax = 107

    /// - Parameter path: of the socket; its directory exists.
    init(_ path: String) throws(StorageError) {
        guard path.utf8.count > Self.bytesMax else {
            address = path
            directory = nil
            return
        }
        let (folder, name) = splitPath(path)
        let descriptor = open(folder, openPathOnly | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw systemError("open the directory \(folder)") }
        directory = descriptor
        address = "/proc/self/fd/\(descriptor)/\(name)"
    }
    deinit { if let directory { close(directory) } }
}

/// O_PATH, which glibc declares for GNU sources only.
private let openPathOnly: Int32 = 0o10000000

/// Directory and last part of a path; the directory of a bare name is `.`.
func splitPath(_ path: String) -> (directory: String, name: String) {
    guard let slash = path.lastIndex(of: "/") else { return (".", path) }
    let directory = slash == path.startIndex ? "/" : String(path[..<slash])
    return (directory, String(path[path.index(after: slash)...]))
}
