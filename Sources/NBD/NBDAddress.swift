import Glibc
import StoreCore

/// Where a server listens.
public enum NBDAddress: Hashable, Sendable, CustomStringConvertible {
    /// A host name or address, and a port; port 0 takes any that is free. 10809 is NBD's own.
    case tcp(host: String, port: UInt16)
    /// A socket file. A stale one is replaced, one that another server answers is not.
    /// - Parameter mode: the file's permissions, say 0o600; nil leaves them to the umask.
    case unix(path: String, mode: UInt32? = nil)
    /// A socket that listens already, as a service manager hands it over; the server closes it at its end.
    case inherited(descriptor: Int32)

    /// As an NBD URI has it, without an export.
    public var description: String {
        switch self {
        case .tcp(let host, let port): "nbd://\(host.contains(":") ? "[\(host)]" : host):\(port)"
        case .unix(let path, _): "nbd+unix:///?socket=\(path)"
        case .inherited(let descriptor): "descriptor \(descriptor)"
        }
    }
}
