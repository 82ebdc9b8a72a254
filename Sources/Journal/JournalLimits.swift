import StoreCore

/// How much local disk a journal may take. Both count whole, preallocated files.
public struct JournalLimits: Sendable {
    /// Bytes of one file. An entry never reaches over a file's end, so this bounds the largest write as well.
    public var fileBytes: Int
    /// Bytes of all files of a generation; beyond, writers wait for `release`.
    public var bytesMax: Int

    public init(fileBytes: Int = 64 << 20, bytesMax: Int = 1 << 30) {
        self.fileBytes = fileBytes
        self.bytesMax = bytesMax
    }
    /// The largest payload of one write.
    public var payloadBytesMax: Int {
        fileBytes - JournalFormat.fileOverheadBytes - JournalFormat.entryBytes(payload: 0)
    }

    func check() throws {
        guard fileBytes >= 64 << 10, fileBytes <= 1 << 30, bytesMax / 2 >= fileBytes else {
            throw StorageError(
                .invalid,
                """
                a journal of \(bytesMax) bytes in files of \(fileBytes) cannot work: files have 64K to 1G, and at \
                least two fit
                """)
        }
    }
}
