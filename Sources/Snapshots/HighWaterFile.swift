public import StoreCore
import Synchronization

/// The high-water marks in a file of the data directory.
///
/// `observe` works in memory; `save` replaces the file whole, so that a crash leaves the old one or the new one. Marks
/// that were not saved are only a weaker guard, never an error. Thread-safe.
public final class HighWaterFile: Sendable {
    private struct State {
        var marks: HighWaterMarks
        var isDirty = false
    }
    private let path: String
    private let disk: any LocalDisk
    /// Guards the marks.
    private let state: Mutex<State>
    /// Held by who writes the file.
    private let saving = AsyncLock()

    private init(path: String, marks: HighWaterMarks, disk: any LocalDisk) {
        self.path = path
        self.disk = disk
        state = Mutex(State(marks: marks))
    }

    /// Reads the file; none is no error. Throws `corrupt` for a damaged one: its removal gives up what it knew.
    public static func open(path: String, disk: any LocalDisk) async throws -> HighWaterFile {
        let bytes: [UInt8]
        do {
            bytes = try await disk.read(path)
        } catch  where error.storageCode == .notFound {
            return HighWaterFile(path: path, marks: HighWaterMarks(), disk: disk)
        }
        let marks = try HighWaterMarks(parsing: String(decoding: bytes, as: UTF8.self), file: path)
        return HighWaterFile(path: path, marks: marks, disk: disk)
    }

    public var marks: HighWaterMarks { state.withLock { $0.marks } }

    /// Notes a number that the store shows. Throws `corrupt` when it showed a higher one before.
    /// - Parameter known: the marks before the store was asked; what others have noted since proves nothing about the
    ///   answer. nil: as they are now.
    public func observe(
        _ kind: HighWaterMarks.Kind, _ number: UInt64, since known: HighWaterMarks? = nil
    ) throws(StorageError) {
        let outcome: Result<Void, StorageError> = state.withLock { state in
            do throws(StorageError) {
                if var known {
                    try known.observe(kind, number)
                    guard number > state.marks[kind] ?? 0 else { return .success(()) }
                }
                if try state.marks.observe(kind, number) { state.isDirty = true }
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try outcome.get()
    }
    public func forget(_ volume: VolumeID) {
        state.withLock { state in
            state.marks.forget(volume)
            state.isDirty = true
        }
    }

    /// Makes what was observed durable, if there is news: at open, after a claim, at the end, and now and then. When it
    /// returns, all that was observed before it was called is in the file.
    public func save() async throws {
        try await saving.withLock {
            let text: String? = state.withLock { state in
                defer { state.isDirty = false }
                return state.isDirty ? state.marks.text : nil
            }
            guard let text else { return }
            do { try await disk.put(path, Array(text.utf8)) } catch {
                state.withLock { $0.isDirty = true }
                throw error
            }
        }
    }
}
