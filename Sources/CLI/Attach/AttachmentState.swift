import Control
import Glibc
import StoreCore

/// What an attach made, so that detach undoes exactly that. Written before each step that it names is taken, so that a
/// killed attach leaves nothing that its successor does not know of.
struct AttachmentState: Codable, Equatable, Sendable {
    enum Method: String, Codable, Sendable { case kernel, nbdfuse }

    var name: String
    var method: Method
    /// Empty until it is known.
    var device = ""
    /// What keeps a mounted file system alive while the server restarts.
    var retryPID: Int32?
    var fusePID: Int32?

    init(name: String, method: Method) {
        self.name = name
        self.method = method
    }
}

/// The files of one attachment, in the data directory.
struct AttachmentFolder: Sendable {
    let path: String

    init(dataDirectory: String, name: String) { path = "\(dataDirectory)/attach/\(name)" }

    var fuse: String { "\(path)/fuse" }
    var disk: String { "\(path)/fuse/disk" }
    var retrySocket: String { "\(path)/retry" }
    var log: String { "\(path)/log" }
    private var state: String { "\(path)/state.json" }

    func make() throws(StorageError) {
        try makeDirectories(fuse)
    }
    /// nil where nothing is attached.
    func load() throws -> AttachmentState? {
        let bytes: [UInt8]
        do { bytes = try SmallFile.read(state) } catch {
            if error.code == .notFound { return nil }
            throw error
        }
        do { return try ControlJSON.decode(from: bytes) } catch {
            throw StorageError(.invalid, "\(state) is damaged: undo the attachment by hand and remove it", cause: error)
        }
    }
    func save(_ new: AttachmentState) throws { try SmallFile.replace(state, try ControlJSON.encode(new)) }

    func remove() {
        for file in [state, "\(state).new", retrySocket, log] { unlink(file) }
        rmdir(fuse)
        rmdir(path)
    }
    /// What a helper said last.
    func lastWords() -> String {
        do {
            let lines = String(decoding: try SmallFile.read(log, bytesMax: 16 << 20), as: UTF8.self).split(
                separator: "\n")
            return lines.last.map(String.init) ?? "it said nothing"
        } catch { return "it said nothing" }
    }
}
