import S3
import StoreCore

/// Where a store lies, from its URL.
enum StoreLocation: Hashable, Sendable, CustomStringConvertible {
    case directory(String)
    case s3(S3URL)

    init(parsing text: String) throws(StorageError) {
        if text.lowercased().hasPrefix("s3://") {
            self = .s3(try S3URL.parse(text))
            return
        }
        guard text.hasPrefix("file://") else {
            throw StorageError(.invalid, "'\(text)' is not a store: write file:///abs/dir or s3://bucket/prefix")
        }
        let path = String(text.dropFirst("file://".count))
        guard path.hasPrefix("/") else {
            throw StorageError(.invalid, "'\(text)' names no absolute directory: write file:///abs/dir")
        }
        let directory = try FilePath.absolute(path)
        guard directory != "/" else { throw StorageError(.invalid, "the root directory cannot be a store") }
        self = .directory(directory)
    }

    /// The same for every way of writing it.
    var description: String {
        switch self {
        case .directory(let path): "file://\(path)"
        case .s3(let url): "\(url)"
        }
    }
}
