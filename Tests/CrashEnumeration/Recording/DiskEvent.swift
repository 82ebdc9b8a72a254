/// What happened on a local disk. An operation has three events: it began, it is visible, it has returned. What it
/// promises about a loss of power holds from the last one on.
enum DiskEvent: Sendable {
    case began(Int, DiskOperation)
    case visible(Int)
    case returned(Int)
    /// A store into the page cache: one moment.
    case stored(file: Int, position: Int, bytes: [UInt8])
    /// The process was killed: what it had begun, and was not yet visible, never is.
    case killed
}

enum DiskOperation: Sendable {
    /// Changes of names, together. Durable when it returns, or with the directory's next sync.
    case names([NameChange], isDurable: Bool)
    /// Everything stored into the file before it began survives the host once it has returned.
    case sync(file: Int)
    case syncDirectory(String)
}

struct NameChange: Sendable {
    var path: String
    /// nil: removed.
    var node: DiskNode?
    /// Of a new file: its bytes, which are on the platter.
    var contents: [UInt8]?
}

enum DiskNode: Sendable, Hashable {
    case file(Int)
    case directory
}

/// The directory that holds a path.
func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
}
